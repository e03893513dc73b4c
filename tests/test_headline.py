import json

import pandas as pd

from alignet.evaluation import headline

NAN = float("nan")


def test_a_run_in_a_few_numbers(tmp_path):
    levels = pd.DataFrame({"student": "a", "target": ["base", "alignet", "alignet"], "level": ["fine", "fine", "all"]})
    levels = levels.assign(representation="pooled", odd_one_out_accuracy=[0.4, 0.5, 0.6], over_base=[NAN, 0.1, 0.2])
    levels = levels.assign(over_control=[NAN, 0.05, NAN])
    similarity = pd.DataFrame({"student": ["a"], "target": "alignet", "benchmark": "held-out triplets"})
    similarity = similarity.assign(metric="odd_one_out_accuracy", value=0.45678)
    downstream = pd.DataFrame({"student": "a", "target": "alignet", "over_control_low": [0.1, -0.1, 0.2, NAN]})
    found = headline.headline(levels, similarity, downstream)
    expected = {"fine": 0.5, "fine over base": 0.1, "fine over control": 0.05, "all": 0.6, "all over base": 0.2}
    assert found == {"a": expected | {"held-out triplets": 0.4568, "downstream above control": 0.6667}}
    headline.save(found, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
