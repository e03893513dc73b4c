"""From a messy folder of pictures to an aligned model, by the commands of the README: nothing fails after `check`."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from runs import ROOT, copy_of_the_repository, run, run_in_one_process, smoke_params

from alignet.evaluation.levels import NO_LEVELS
from alignet.worlds.format import tables

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("journeys")]
CLASSES, EACH = 12, 8


def messy_folder(folder):
    """96 pictures in 12 classes, as they come from phones and Macs: some that are none, hidden, linked, twice there."""
    generator = np.random.default_rng(0)
    for number in range(CLASSES * EACH):
        label = number % CLASSES
        place = folder / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        colour = np.array([20 * label, 255 - 20 * label, 60 * (label % 4)])
        pixels = np.clip(colour + generator.normal(0, 30, (90, 120, 3)), 0, 255).astype(np.uint8)
        pixels[10 : 20 + 5 * label, 10 : 100 - 5 * label] = 255 - colour.astype(np.uint8)
        Image.fromarray(pixels).save(place / f"IMG_{number:03}.jpg")
    (folder / "class 0" / "._IMG_000.jpg").write_bytes(b"resource fork")
    (folder / "class 1" / "empty.png").write_bytes(b"")
    (folder / "class 2" / "scan.tif").write_bytes(b"II*")
    (folder / "class 3" / "copy.jpg").write_bytes((folder / "class 4" / "IMG_004.jpg").read_bytes())
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "x.jpg").write_bytes(b"x")
    (folder / "linked").symlink_to(folder / "class 0")
    return folder


def answers(asked, images, file):
    """Lists of three SIMULATED people, who mostly leave two pictures of a class together; odd from 1, semicolons."""
    generator, of = np.random.default_rng(1), images.set_index("image")["class"]
    directions = {name: generator.normal(size=6) for name in sorted(of.unique())}
    points = {image: directions[label] + 0.6 * generator.normal(size=6) for image, label in of.items()}
    odd = []
    for row in asked[tables.TRIPLET].itertuples(index=False):
        a, b, c = (points[image] for image in row)
        odd.append(1 + int(np.argmax(np.array([b @ c, a @ c, a @ b]) / 2 + generator.gumbel(size=3))))
    asked.assign(odd=odd, participant="person " + asked["list"].astype(str)).to_csv(
        file, index=False, sep=";", encoding="utf-8-sig"
    )


FEW = ["--n", "300", "--level", "none", "--people", "3"]
MORE = ["--n", "650", "--per-level", "40", "--repeats", "3"]


@pytest.mark.parametrize(
    ("asked", "held_out", "levels"),
    [(FEW, False, set()), (FEW, True, {"coarse"}), (MORE, False, {"coarse", "boundary"})],
    ids=["few", "held out", "more"],
)
def test_a_messy_folder_and_some_choices_become_an_aligned_model(tmp_path, asked, held_out, levels):
    copy = copy_of_the_repository(tmp_path / "project", smoke_params())
    messy_folder(tmp_path / "my pictures")
    worlds = ("python", "-m", "alignet.worlds")
    said = run(copy, *worlds, "new", "my_world", "--images", str(tmp_path / "my pictures")).stdout
    left_out = ("class 2/scan.tif", "class 1/empty.png", "equal to another file: class 4", "are linked folders: linked")
    for part in ("96 pictures in 12 classes", *left_out):
        assert part in said
    images = pd.read_csv(copy / "my_world" / "images.csv", keep_default_na=False)
    assert "3 people answer" in run(copy, *worlds, "triplets", "my_world", *asked).stdout
    trials = pd.read_csv(copy / "my_world" / "trials.csv", keep_default_na=False)
    answers(trials, images, tmp_path / "answers.csv")
    given = str(tmp_path / "answers.csv")
    assert "rows added, 0" in run(copy, *worlds, "import", "my_world", given, "--first", "1").stdout
    if held_out:
        run(copy, *worlds, "hold-out", "my_world")
    checked = run(copy, *worlds, "check", "my_world").stdout
    taught = (trials["level"] == "").sum() if "level" in trials else len(trials)
    assert f"{taught} choices by 3 participants" in checked
    assert ("the teacher alone is scored" in checked) == (not levels)
    run(copy, *worlds, "params", "my_world")
    profile = yaml.safe_load((copy / "my_world" / "params.yaml").read_text())
    profile["run"] = {"students": ["lite0"]}  # one student and few steps: a test
    profile["students"]["lite0"]["steps"] = 12
    (copy / "my_world" / "params.yaml").write_text(yaml.safe_dump(profile))
    (copy / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    run(copy, "python", "-m", "alignet.config", "my_world/params.yaml")
    run(copy, "python", "-m", "alignet.pipeline.preflight")
    run_in_one_process(copy)
    scores = pd.read_csv(copy / "reports" / "tables" / "levels.csv")
    assert set(scores["level"]) >= {*levels, "all"}
    if held_out:
        assert set(scores["regime"]) == {"known"}
    assert set(scores["choices"]) == {"human"}
    assert bool(scores["n_triplets"].any()) == bool(levels)
    if not levels:
        assert set(scores["note"]) == {NO_LEVELS}
    assert (copy / "reports" / "figures" / "levels.png").is_file()
    page = (copy / "reports" / "index.html").read_text(encoding="utf-8")
    told = page.split('id="cautions"')[1].split("</ul>")[0]
    assert "Too few to conclude from: the test split shows" in told
    assert ("No level of abstraction is scored" in told) == (not levels)
    assert ("the teacher chooses as people do on" in told) == (not levels)
