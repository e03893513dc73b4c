from alignet.worlds import source


def test_the_digest_changes_with_any_file_and_its_name_and_with_nothing_else(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images.csv").write_text("a")
    (tmp_path / "images" / "one.png").write_bytes(b"1")
    first = source.digest(tmp_path)
    (tmp_path / source.DIGEST).write_text(first)
    assert source.digest(tmp_path) == first
    (tmp_path / "images" / "one.png").write_bytes(b"2")
    second = source.digest(tmp_path)
    (tmp_path / "images" / "one.png").rename(tmp_path / "images" / "two.png")
    assert len({first, second, source.digest(tmp_path)}) == 3
