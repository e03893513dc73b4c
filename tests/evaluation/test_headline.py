import json

import pandas as pd

from alignet.evaluation import headline

NAN = float("nan")


def test_a_run_in_a_few_numbers(tmp_path):
    levels = pd.DataFrame({"student": "a", "target": ["base", "alignet", "alignet"], "level": ["fine", "fine", "all"]})
    levels = pd.concat([levels.assign(regime="new"), levels.iloc[1:2].assign(regime="all", study="2025")])
    levels = levels.assign(representation="pooled", odd_one_out_accuracy=[0.4, 0.5, 0.6, 0.9])
    levels = levels.assign(over_base=[NAN, 0.1, 0.2, 0.9], over_control=[NAN, 0.05, NAN, 0.9])
    similarity = pd.DataFrame({"student": ["a"], "target": "alignet", "benchmark": "held-out triplets"})
    similarity = similarity.assign(metric="odd_one_out_accuracy", value=0.45678)
    downstream = pd.DataFrame({"student": "a", "target": "alignet", "over_control_low": [0.1, -0.1, 0.2, NAN]})
    found = headline.headline(levels, similarity, downstream)
    expected = {"new, fine": 0.5, "new, fine, over base": 0.1, "new, fine, over control": 0.05}
    expected |= {"new, all": 0.6, "new, all, over base": 0.2}
    assert found == {"a": expected | {"held-out triplets": 0.4568, "downstream above control": 0.6667}}
    headline.save(found, tmp_path / "metrics.json")
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
