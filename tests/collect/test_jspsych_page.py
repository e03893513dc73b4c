"""The page that `alignet jspsych` writes, in a browser: what each person is asked, and what is kept.

jsPsych itself is not here: a stand-in with its calls takes its place. It shows each screen of the timeline, presses the
last button, and at the end shows what the page would save.
"""

import json
import re
import shutil
import subprocess

import inputs
import pandas as pd
import pytest

from alignet.collect import jspsych, plan
from alignet.worlds.folder import answers, trials
from alignet.worlds.format import tables
from alignet.worlds.format.tables import TRIPLET

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")

STAND_IN = """
function initJsPsych(settings) {
  const kept = [], always = {};
  return {
    randomization: { randomID: (n) => "r".repeat(n) },
    data: {
      addProperties: (values) => Object.assign(always, values),
      get: () => ({ localSave: (kind, file) => {
        const found = document.createElement("pre");
        found.textContent = JSON.stringify({ kind, file, rows: kept });
        document.body.append(found);
      } }),
    },
    run: (timeline) => {
      for (const screen of timeline) {
        const choices = screen.choices || [];
        const place = document.createElement("div");
        const shown = screen.button_html ? choices.map(screen.button_html) : choices;
        place.innerHTML = [screen.stimulus, ...shown].join("");
        const pictures = [...place.querySelectorAll("img")].map((image) => image.getAttribute("src"));
        const data = { trial_type: screen.type.name, rt: 1000, response: choices.length - 1, ...screen.data };
        if (screen.on_finish) screen.on_finish(data);
        kept.push({ ...data, ...always, pictures });
      }
      settings.on_finish();
    },
  };
}
var jsPsychPreload = { name: "preload" }, jsPsychHtmlButtonResponse = { name: "html-button-response" };
"""


@pytest.fixture
def folder(tmp_path):
    return inputs.asked_world(tmp_path, (40, 40))


def page(world, table, place):
    """The folder of a page that finds the stand-in beside it."""
    jspsych.write(world, table, place, source="packages")
    for name in re.findall(r'src="(packages/[^"]+)"', (place / "index.html").read_text()):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(STAND_IN if "/jspsych@" in name else "")
    return place


def opened(place, words=""):
    """What Chromium shows of a page at the address with these words after it, as HTML."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place / 'profile'}"]
    command += ["--dump-dom", f"{(place / 'index.html').as_uri()}{words}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=inputs.PATIENCE, check=True).stdout


def saved(place, words=""):
    """What the page saves at the end: the file's name and a table of the rows."""
    (text,) = re.findall(r"<pre>(.*?)</pre>", opened(place, words), re.DOTALL)
    found = json.loads(text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    return found["file"], pd.DataFrame(found["rows"])


def asked_of(rows):
    return sorted(tuple(row) for row in rows[TRIPLET].dropna().itertuples(index=False))


def test_each_list_asks_its_own_triplets_and_the_data_name_the_list_and_are_imported(folder, tmp_path):
    world = tables.read(folder, unfilled=True)
    table, _ = trials.every(world, 6, 2, repeats=2, people=3)
    place = page(world, table, tmp_path / "experiment")
    for number in (1, 2, 3):
        file, rows = saved(place, f"?list={number}&participant=person{number}")
        mine = table[table["list"] == number]
        assert file == f"answers_person{number}.csv"
        assert asked_of(rows) == sorted(mine[TRIPLET].itertuples(index=False, name=None))
        assert {len(shown) for shown in rows["pictures"]} == {0, 3}
        assert all((place / file).is_file() for shown in rows["pictures"] for file in shown)
        assert set(rows["list"]) == {str(number)} and set(rows["participant"]) == {f"person{number}"}
        rows.drop(columns="pictures").to_csv(tmp_path / file, index=False)
        answers.add(folder, tmp_path / file)
    found = tables.read(folder)
    assert len(found.triplets) + len(found.levels) == len(table)
    assert set(found.triplets["odd"]) == {2}  # the last button


def test_without_a_list_in_the_address_one_of_the_lists_is_asked_and_an_unknown_one_is_said(folder, tmp_path):
    world = tables.read(folder, unfilled=True)
    table, _ = trials.every(world, 4, 1, repeats=2)
    place = page(world, table, tmp_path / "experiment")
    _, rows = saved(place, "?PROLIFIC_PID=77")
    (number,) = set(rows["list"])
    assert asked_of(rows) == sorted(table.loc[table["list"] == int(number), TRIPLET].itertuples(index=False, name=None))
    assert set(rows["participant"]) == {"77"}
    assert "There is no list 9: the lists are 1, 2." in opened(place, "?list=9")


def test_a_plan_without_lists_asks_all_its_trials_and_a_rating_is_kept_from_one_to_five(folder, tmp_path):
    world = tables.read(folder, unfilled=True)
    place = page(world, plan.pairs(world, 4, checks=0), tmp_path / "pairs")
    file, rows = saved(place)
    assert file == "answers_prrrrrrrr.csv"
    assert rows["rating"].dropna().tolist() == [5] * 6 and "odd" not in rows
    assert "There is no list 2: all trials are one list" in opened(place, "?list=2")
