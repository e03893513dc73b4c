import json

import pandas as pd
import pytest
from browser.steps import run_all, saved, scrolled_to

from alignet import config
from alignet.pipeline import cells

NUMBERED = sorted(path.name for path in (config.home() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def test_a_stage_notebook_runs_all_its_cells(opened, clone, screen):
    page = opened("11_cost.ipynb")
    run_all(page)
    scrolled_to(page, ".jp-OutputArea-output img")
    screen(page, "lab_11_cost")
    scrolled_to(page, "text=What this run found")
    assert page.locator("text=Traceback").count() == 0
    # What jupyter paints pink: warnings on the error stream.
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0


@pytest.mark.parametrize("name", NUMBERED)
def test_a_notebook_that_is_opened_and_saved_says_what_it_said(opened, clone, name):
    file = clone / "notebooks" / name
    before = file.read_bytes()
    page = opened(name)
    page.mouse.wheel(0, 2000)
    saved(page)
    after = json.loads(file.read_text(encoding="utf-8"))
    assert cells.text(after) == cells.text(json.loads(before))
    file.write_bytes(before)


def test_files_of_the_project_can_be_reached(opened):
    page = opened("11_cost.ipynb")
    page.click(".jp-FileBrowser .jp-BreadCrumbs-home")
    page.wait_for_selector(".jp-DirListing-item >> text=params.yaml")
    assert page.locator(".jp-DirListing-item >> text=README.md").count() == 1


def test_the_explorer_answers_a_click(opened, screen):
    page = opened("explore.ipynb")
    run_all(page)
    page.wait_for_selector("text=Bars: the probability")
    pictures = "document.querySelector('.jp-OutputArea .widget-html table')?.innerHTML"
    before = page.evaluate(pictures)
    page.click("button:has-text('another triplet')")
    page.wait_for_function(f"{pictures} !== {json.dumps(before)}")
    screen(page, "lab_explore")
    page.click("text=Neighbours >> nth=-1")
    page.wait_for_selector("text=Below each: the finest label")
    screen(page, "lab_explore_neighbours")
    page.click(".lm-TabBar-tab:has-text('Hierarchy')")
    page.click("button:has-text('animate')")
    page.wait_for_selector("b:has-text('animate')")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", state="attached")
    screen(page, "lab_explore_hierarchy")


def test_ten_trials_by_keyboard_are_saved_and_go_on_after_closing(opened, clone, screen):
    page = opened("collect.ipynb")
    run_all(page)
    scrolled_to(page, ".alignet-experiment .pictures img")
    screen(page, "lab_collect")
    answered = clone / "data" / "collected" / "mine" / "answers.csv"
    page.click(".alignet-experiment p")
    for trial in range(11):
        page.wait_for_selector(f".alignet-experiment .head:has-text('{trial} of')")
        page.wait_for_function("document.querySelector('.alignet-experiment .pictures').style.visibility === 'visible'")
        page.wait_for_timeout(120)
        page.keyboard.press(str(trial % 3 + 1))
    page.wait_for_selector(".alignet-experiment .head:has-text('11 of')")
    page.keyboard.press("u")
    page.wait_for_selector(".alignet-experiment .head:has-text('10 of')")
    stored = pd.read_csv(answered)
    assert stored["chosen"].tolist() == [trial % 3 for trial in range(10)]
    assert stored["rt"].between(0.05, 30).all()
    page.goto("about:blank")
    again = opened("collect.ipynb")
    run_all(again)
    scrolled_to(again, ".alignet-experiment .head:has-text('10 of')")
    assert pd.read_csv(answered)["chosen"].tolist() == stored["chosen"].tolist()
    screen(again, "lab_collect_resumed")
