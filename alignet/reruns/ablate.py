"""Change one choice at a time and train again.

python -m alignet.reruns.ablate [--variants params/variants/ablations.yaml]

Each variant gets a folder data/ablations/<number> (`variants`). Writes reports/tables/ablations.csv and
reports/variants/ablations.*: accuracy at every level beside that of the run itself, each difference with its interval
over triplets, and the spread over the run's training seeds where `alignet.reruns.replicate` has run.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
import torch
import yaml

from alignet import config, results
from alignet.evaluation import influences, levels
from alignet.figures import ablations as figures
from alignet.figures import style
from alignet.reruns import variants
from alignet.worlds.format import regimes

VARIANTS = "params/variants/ablations.yaml"
COLUMNS = ["factor", "variant", "student", "target", "regime", "level"]
COLUMNS += ["odd_one_out_accuracy", "ci_low", "ci_high", "ci_unit"]
COLUMNS += ["over_default", "over_default_low", "over_default_high", "seeds_sd", "n_seeds", "choices"]
CHANGED = ("teacher", "synthesis", "students", "levels", "downstream")  # sections that a variant may change
Moved = dict[tuple[str, str], influences.Stored]  # influences of the run's models, by factor and variant


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet ablate", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--variants", default="params/variants/ablations.yaml", help="from the project's root or absolute"
    )
    parser.add_argument("--params-file", default=config.PARAMS)
    parser.add_argument("--out-dir", default=".", help="of the finished run")
    wanted = parser.parse_args(arguments)
    return variants.told(lambda: ablate(wanted.variants, wanted.params_file, wanted.out_dir))


def ablate(file: str, params_file: str, out_dir: str) -> None:
    """Run the variants that are missing, then collect and draw.

    Raises: ValueError if the run is not finished or the file of variants is wrong; CalledProcessError naming a stage.
    """
    data, reports = config.folders(out_dir)
    student, listed = read(file)
    table = reports / "tables" / "levels.csv"
    if not table.is_file():
        raise ValueError(f"{table}: no such file: finish the run first (make repro)")
    parts, moved = [_levels(table, student).assign(factor="default", variant="default")], {}
    moved["default", "default"] = influences.load(data / "levels")
    for number, entry in enumerate(listed):
        place = data / "ablations" / f"{number:02d}_{entry['factor'].replace(' ', '_')}"
        variant = variants.Variant(place, changes_of(entry, student), ("07_levels",))
        folder = variants.run(variant, params_file, out_dir)
        parts.append(_levels(folder / "levels.csv", student).assign(factor=entry["factor"], variant=entry["name"]))
        moved[entry["factor"], entry["name"]] = influences.load(place / "data" / "levels")
    scores = beside_default(pd.concat(parts, ignore_index=True), moved, reports / "tables" / "seeds.csv")
    results.save(scores, reports / "tables" / "ablations.csv")
    style.use()
    style.save(figures.by_factor(scores), reports / "variants" / "ablations", scores)
    print(f"{len(listed)} variants: {reports / 'tables' / 'ablations.csv'}, {reports / 'variants' / 'ablations.png'}")


def changes_of(entry: dict, student: str) -> dict:
    """The sections of the params that differ in an entry's run: its own, one student, and no floor of random weights,
    which no setting changes.
    """
    levels_of = {"floor_untrained": False} | entry["changes"].get("levels", {})
    return entry["changes"] | {"run": {"students": [student]}, "levels": levels_of}


def read(file: str) -> tuple[str, list[dict]]:
    """The student and the variants of a file; each has factor, name and changes.

    Raises: ValueError naming the file and what it lacks, or a change that a variant would ignore.
    """
    if not (config.home() / file).is_file():
        raise ValueError(f"{file}: no such file")
    values = yaml.safe_load((config.home() / file).read_text(encoding="utf-8"))
    if not isinstance(values, dict) or {"student", "variants"} - values.keys():
        raise ValueError(f"{file}: needs student and variants")
    student = values["student"]
    for number, entry in enumerate(values["variants"], start=1):
        lacking = sorted({"factor", "name", "changes"} - set(entry))
        if lacking:
            raise ValueError(f"{file}: variant {number} lacks {', '.join(lacking)}")
        if not isinstance(entry["changes"], dict):
            raise ValueError(f"{file}: variant {number}: changes: no sections of the params")
        without_effect = sorted(entry["changes"].keys() - set(CHANGED))
        without_effect += sorted(f"students.{name}" for name in entry["changes"].get("students", {}) if name != student)
        if without_effect:
            why = f"a variant of {student} changes {', '.join(CHANGED)}; all else is the finished run's"
            raise ValueError(f"{file}: variant {number}: {without_effect[0]} would have no effect: {why}")
    return student, values["variants"]


def beside_default(scores: pd.DataFrame, moved: Moved, seeds: Path) -> pd.DataFrame:
    """The scores with further columns: over_default, its 95 % interval, and the spread of the run over seeds if it is
    known.

    over_default is the accuracy minus the run's own on the same triplets; the interval is over triplets that share
    concepts.
    """
    key = ["student", "target", "level"]
    own = scores[scores["factor"] == "default"].set_index(key)["odd_one_out_accuracy"]
    default = pd.Series(own.reindex(pd.MultiIndex.from_frame(scores[key])).to_numpy(), index=scores.index)
    scores = scores.assign(over_default=scores["odd_one_out_accuracy"] - default)
    ends = [_interval(row, moved) for row in scores.to_dict("records")]
    scores[["over_default_low", "over_default_high"]] = ends
    if seeds.is_file():
        spread = results.load(seeds)
        spread = regimes.headline(spread[spread["benchmark"].str.startswith("levels, ")])[[*key, "sd", "n_seeds"]]
        scores = scores.merge(spread.rename(columns={"sd": "seeds_sd"}), on=key, how="left")
    return scores.reindex(columns=COLUMNS)


def _interval(row: dict, moved: Moved) -> tuple[float, float]:
    """The interval of over_default; NaN for the run itself, and if the two were not scored on the same triplets."""
    benchmark = f"levels, {influences.about('', row['regime'], row['level'])}", levels.METRIC
    model, influences_of = (row["student"], row["target"]), []
    for key in (("default", "default"), (row["factor"], row["variant"])):
        units, by_model = moved[key].get(benchmark, (None, {}))
        influences_of.append((units, by_model.get(model)))
    (units, before), (others, after) = influences_of
    nothing = influences.NAN, influences.NAN
    if row["factor"] == "default" or units is None or others is None or before is None or after is None:
        return nothing
    if not torch.equal(units.objects, others.objects):
        return nothing
    return influences.interval(units, (row["over_default"], after - before))


def _levels(file: Path, student: str) -> pd.DataFrame:
    table = results.load(file)
    return regimes.headline(table[(table["student"] == student) & (table["representation"] == "pooled")])


if __name__ == "__main__":
    sys.exit(main())
