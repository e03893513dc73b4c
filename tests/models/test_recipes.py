"""The table of published models in docs/own_data.md, against the timm that is installed."""

import re

import pytest
import timm
import torch

from alignet.config import home
from alignet.evaluation import cost

LITE0 = "tf_efficientnet_lite0"
SECONDS = 7.3  # that 1,000 pictures take lite0 at 112 px on one core, as the page says
PAGE = (home() / "docs" / "own_data.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if re.match(r"\| [^|]+ \| `vit_", line)]


def on_paper(name, size):
    """A model without memory for its weights, and its operations for one picture."""
    options = {"img_size": size} if "dinov2" in name else {}
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0, **options).eval().requires_grad_(False)
    return model, cost.forward_flops(model, size)


def number(text):
    return float(text.replace(",", ""))


def test_there_is_a_row_of_each_family():
    assert {row[0].split()[0] for row in ROWS} == {"DINOv2", "SigLIP", "SigLIP2", "CLIP"}
    assert f"{SECONDS:g} s" in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1].strip("`"))
def test_a_model_of_the_table_is_one_of_timms_with_this_size_and_cost(row):
    _, name, parameters, megabytes, size, ratio, minutes = row[:7]
    name, size = name.strip("`"), int(size)
    assert name in timm.list_pretrained()
    model, operations = on_paper(name, size)
    count = sum(weight.numel() for weight in model.parameters())
    assert number(parameters) == pytest.approx(count / 1e6, rel=0.01)
    assert number(megabytes) == pytest.approx(4 * count / 1e6, rel=0.01)
    times = operations / on_paper(LITE0, 112)[1]
    assert number(ratio) == pytest.approx(times, rel=0.01)
    assert number(minutes) == pytest.approx(times * SECONDS / 60, rel=0.05)
