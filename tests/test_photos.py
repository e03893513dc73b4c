"""The world of photographs, from small invented copies of the public files behind a loopback server."""

import hashlib
import http.server
import io
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from alignet import preflight
from alignet.worlds import fetch
from alignet.worlds.folder import world as folder_world
from alignet.worlds.format.tables import WorldError
from alignet.worlds.readers import photos

CATEGORIES = ["animal", "animal, food", "clothing", "tool", "fruit"]
CONCEPTS = [f"thing{number:03d}" for number in range(100)]
FREE = 30  # classes that THINGS does not have


def wordnet(number):
    return f"n{number:08d}"


def concept_rows():
    rows = [
        {"Word": name, "uniqueID": name, "WordNet Synonyms": f"{name}, {name}_alias", "WordNet ID": wordnet(number)}
        | {"Top-down Category (manual selection)": CATEGORIES[number % 5] if number < 95 else ""}
        for number, name in enumerate(CONCEPTS)
    ]
    rows[0] |= {"Word": "kite", "WordNet Synonyms": "kite", "WordNet ID": wordnet(900)}  # a toy; ImageNet's is a bird
    rows[1] |= {"WordNet ID": "", "WordNet Synonyms": "'old name', other"}  # no id: matched by a synonym
    return pd.DataFrame(rows).assign(**dict.fromkeys(photos.CATEGORIES[1:], ""))


def picture(number):
    noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).save(written, "JPEG")
    return written.getvalue()


def archive(members):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as content:
        for name, data in members.items():
            content.writestr(name, data)
    return written.getvalue()


def array_bytes(save, rows):
    written = io.BytesIO()
    save(written, rows)
    return written.getvalue()


@pytest.fixture(scope="module")
def public():
    """Path on the server -> content."""
    names = {wordnet(number): name for number, name in enumerate(CONCEPTS)}
    names |= {wordnet(0): "kite", wordnet(1): "old_name"}
    names |= {wordnet(500 + number): f"free_{number}" for number in range(FREE)}
    root = f"imagenet-sample-images-{fetch.SAMPLES_AT}"
    samples = {f"{root}/{key}_{name}.JPEG": picture(int(key[1:])) for key, name in names.items()}
    root = f"AligNet-Human-Validation-Experiment-{fetch.EXPERIMENT_AT}/experiment/stimuli/images_revision"
    seen = {f"{root}/{wordnet(number)}_77.JPEG": picture(2000 + number) for number in (5, 6, 7, 501)}
    seen |= {f"{root}/{wordnet(number)}_99.JPEG": picture(3000) for number in (8, 502)}  # one picture of two classes
    embedding = np.random.default_rng(0).random((100, 4)).astype(np.float32) * 2
    return {
        "things_concepts.tsv": concept_rows().to_csv(sep="\t", index=False).encode(),
        "final_embedding.npy": array_bytes(np.save, embedding),
        "unique_id.txt": "\n".join(CONCEPTS).encode(),
        "spose_embedding_66d_sorted.txt": array_bytes(np.savetxt, embedding[:, ::-1]),
        f"{fetch.SAMPLES_AT}.zip": archive(samples | {f"{fetch.SAMPLES_AT}/README.md": b"no picture"}),
        f"{fetch.EXPERIMENT_AT}.zip": archive(seen),
    }


@pytest.fixture
def server(public, monkeypatch):
    """The public files on loopback; `missing` names those that it answers with 404."""
    missing = set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition("/")[2]
            if name in missing or name not in public:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(public[name])))
            self.end_headers()
            self.wfile.write(public[name])

        def log_message(self, *words):
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{found.server_port}"
    files = []
    for file in fetch.FILES["photos"]:
        url = f"{host}/{file.url.rpartition('/')[2]}"
        digest = file.sha256 and hashlib.sha256(public[url.rpartition("/")[2]]).hexdigest()
        files.append(fetch.File(url, file.path, file.page, file.unpack, digest))
    monkeypatch.setitem(fetch.FILES, "photos", files)
    found.missing = missing
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def made(server, tmp_path):
    assert fetch.main(["photos", "--to", str(tmp_path)]) == 0
    return tmp_path / "photos"


def test_the_fetched_world_passes_the_check_and_says_what_it_is_of(made, server, tmp_path, capsys):
    world = folder_world.read(made / "world")
    assert world.choices == "derived"
    assert fetch.main(["photos", "--to", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "DERIVED from embeddings of people's choices" in shown
    assert all(f"licence: {source['licence']}" in shown for source in photos.SOURCES)
    assert f"sha256 {hashlib.sha256((made / 'vice.npy').read_bytes()).hexdigest()}" in shown


def test_classes_are_matched_by_id_and_by_name_only_where_there_is_no_id(made):
    matches = pd.read_csv(made / "world" / "matches.csv").set_index("wordnet")
    assert matches.loc[wordnet(1), "concept"] == "thing001"
    assert matches.loc[wordnet(1), "matched_by"] == "name"
    assert matches.loc[wordnet(2), "matched_by"] == "WordNet"
    assert matches.loc[wordnet(0), "concept"] == f"{wordnet(0)} kite"  # a bird is no toy
    assert matches.loc[wordnet(0), "split"] == "synthesis"
    assert (matches["matched_by"] == "WordNet").sum() == 98


def test_splits_are_by_concept_in_shares_and_labels_come_from_things(made):
    world = folder_world.read(made / "world")
    images = world.images.set_index("image")
    assert images.groupby("concept")["split"].nunique().max() == 1
    assert not any(name.endswith("_99") for name in images.index)
    concepts = images[images["category"] != photos.UNLABELLED].drop_duplicates("concept")
    assert 0.25 < (concepts["split"] == "test").mean() < 0.42
    assert (images.loc[images["category"] == photos.UNLABELLED, "split"] == "synthesis").all()
    assert images.loc[f"{wordnet(6)}_77", "split"] == images.loc[f"{wordnet(6)}_thing006", "split"]
    assert images.loc[f"{wordnet(501)}_77", "split"] == "synthesis"
    assert images.loc[f"{wordnet(6)}_thing006", ["category", "domain"]].tolist() == ["animal", "natural"]
    assert images.loc[f"{wordnet(2)}_thing002", "domain"] == "artifact"
    assert images.loc[f"{wordnet(97)}_thing097", "category"] == photos.OTHER


def test_choices_follow_the_embedding_and_test_rows_show_concepts_of_their_own(made):
    world = folder_world.read(made / "world")
    rows, odd = world.choice_rows(world.triplets)
    split = world.triplets["split"]
    assert (split.value_counts()[["train", "validation", "test"]] == [20000, 2000, 3200]).all()
    concepts = world.codes("concept")[rows]
    test = torch.tensor((split == "test").tolist())
    assert not torch.isin(concepts[test].unique(), concepts[~test].unique()).any()
    embedding = torch.from_numpy(np.load(made / "vice.npy"))
    thing = torch.tensor([CONCEPTS.index(name) if name in CONCEPTS else 0 for name in world.images["concept"]])[rows]
    x = embedding[thing]
    pairs = torch.stack([(x[:, 1] * x[:, 2]).sum(1), (x[:, 0] * x[:, 2]).sum(1), (x[:, 0] * x[:, 1]).sum(1)], 1)
    expected = pairs.softmax(-1)
    for low, high in ((0.0, 0.1), (0.3, 0.4), (0.6, 0.8)):
        within = (expected >= low) & (expected < high)
        share = (torch.nn.functional.one_hot(odd, 3).bool() & within).sum() / within.sum()
        assert share.item() == pytest.approx(expected[within].mean().item(), abs=0.02)


def test_levels_show_the_categories_that_they_say_and_never_the_rest(made):
    world = folder_world.read(made / "world")
    category = world.images.set_index("image")["category"]
    kinds = world.levels[["image_0", "image_1", "image_2"]].map(lambda image: category[image])
    assert not (kinds == photos.OTHER).any(axis=None)
    found = kinds.nunique(axis=1).groupby(world.levels["level"]).unique()
    assert {level: sorted(numbers.tolist()) for level, numbers in found.items()} == {
        "coarse": [3],
        "boundary": [2],
        "fine": [1],
    }


def test_the_profile_runs_on_it(made, tmp_path):
    import yaml

    profile = tmp_path / "photos.yaml"
    changes = {"world": {"source": "folder", "path": str(made / "world")}, "synthesis": {"clusters": 5}}
    changes |= {"students": {name: {"batch_clusters": 3, "batch_pictures": 3} for name in ("lite0", "lite1")}}
    profile.write_text(yaml.safe_dump({"base": "params/photos.yaml"} | changes))
    assert preflight.problems(str(profile)) == []


def test_a_file_that_cannot_be_had_is_one_line_and_the_others_are_kept(server, tmp_path, capsys):
    server.missing.add("final_embedding.npy")
    assert fetch.main(["photos", "--to", str(tmp_path)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "final_embedding" in line or "vice.npy" in line]
    assert len(lines) == 2  # it was not had, and without it there is no world
    assert lines[1].endswith("vice.npy: no such file: run python -m alignet.worlds.fetch photos")
    assert (tmp_path / "photos" / "things_concepts.tsv").is_file()
    server.missing.clear()
    assert fetch.main(["photos", "--to", str(tmp_path)]) == 0


def test_another_file_than_the_pinned_one_is_refused(server, public, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(public, "unique_id.txt", public["unique_id.txt"] + b"\nmore")
    assert fetch.main(["photos", "--to", str(tmp_path)]) == 1
    assert "unique_id.txt" in capsys.readouterr().err
    assert not (tmp_path / "photos" / "world").exists()


def test_embeddings_of_other_concepts_are_refused_by_file(made):
    files = photos.Files(
        made / "things_concepts.tsv", made / "unique_id.txt", made / "vice.npy", made / "spose_66d.txt", made, made
    )
    things = photos.concept_table(files)
    (made / "unique_id.txt").write_text("\n".join(reversed(CONCEPTS)))
    with pytest.raises(WorldError, match=r"unique_id\.txt: names other concepts"):
        photos.embeddings(files, things)
    (made / "unique_id.txt").write_text("\n".join(CONCEPTS))
    np.save(made / "vice.npy", np.zeros((3, 2)))
    with pytest.raises(WorldError, match=r"vice\.npy: is \(3, 2\), and there are 100 concepts"):
        photos.embeddings(files, things)
    (made / "things_concepts.tsv").write_text("Word\nx\n")
    with pytest.raises(WorldError, match=r"things_concepts\.tsv: lacks the column"):
        photos.concept_table(files)
