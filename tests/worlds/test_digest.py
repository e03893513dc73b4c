import pytest

from alignet.worlds import source
from alignet.worlds.folder import digest as folder_digest


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


@pytest.mark.parametrize("name", ["world.yaml", "images.csv", "triplets.parquet", "ratings.csv"])
def test_the_digest_of_a_folder_changes_with_its_tables_alone(tmp_path, name):
    (tmp_path / "triplets.csv").write_text("a")
    (tmp_path / "picture.png").write_bytes(b"1")
    before = folder_digest.of_tables(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"2")
    assert folder_digest.of_tables(tmp_path) == before
    (tmp_path / name).write_text("b")
    assert folder_digest.of_tables(tmp_path) != before
