"""Score any model on a world's Levels, similarity and downstream tasks, beside the models that were scored before.

python -m alignet.evaluation --backbone NAME --weights timm|package|random|FILE [--layer L] [--picture-size N]

NAME is a timm model, or local-dir:FOLDER of an exported student (`alignet.export`). Its rows are added to
reports/comparison/comparison.csv, where they replace those of the same model, and drawn with the students of the run.
"""

import argparse
import sys

import pandas as pd

from alignet import config, results
from alignet.evaluation import benchmarks, scoring
from alignet.figures import benchmarks as drawn_benchmarks
from alignet.figures import style
from alignet.worlds.format import tables

LINES = 10  # of the summary


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet evaluate", description=__doc__.split("\n\n")[0])
    parser.add_argument("--backbone", required=True, help="a timm model, or local-dir:FOLDER of an exported student")
    parser.add_argument("--weights", required=True, help="timm, package, random or a file")
    parser.add_argument("--layer", default="pooled", help="pooled, or the name of a block")
    parser.add_argument("--picture-size", type=int, default=224, help="pixels")
    parser.add_argument("--name", help="in table and figure; the backbone's if left out")
    parser.add_argument("--params-file", default="params.yaml")
    parser.add_argument("--out-dir", default=".", help="of the run: its data/world is scored on")
    wanted = parser.parse_args(arguments)
    try:
        run(wanted)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(wanted: argparse.Namespace) -> None:
    """Score, add to the table, draw, and say how the model stands beside the run's first student."""
    data, reports = config.folders(wanted.out_dir)
    size = wanted.picture_size
    model = config.Backbone(
        model=wanted.backbone, options={}, weights=wanted.weights, layer=wanted.layer, seed=0, picture_size=size
    )
    world, name = tables.read(data / "world"), wanted.name or wanted.backbone
    scored, found = scoring.Model(model, name, world, scoring.resolved(wanted.params_file)), {}
    for number, benchmark in enumerate(scoring.BENCHMARKS, start=1):
        print(f"[{number}/{len(scoring.BENCHMARKS)}] {benchmark}", flush=True)
        found[benchmark] = scored.on(benchmark)
    scores = benchmarks.tidy(found)
    key = {"model": name, "weights": wanted.weights, "layer": wanted.layer, "picture_size": size, "world": world.name}
    folder = reports / "comparison"
    table = benchmarks.with_model(folder / "comparison.csv", key, scores)
    style.use()
    of_run = benchmarks.of_the_run(reports, world)
    drawn = pd.concat([of_run, table[table["world"] == world.name]], ignore_index=True)
    style.save(drawn_benchmarks.by_model(drawn), folder / "comparison")
    print(*summary(scores.assign(model=name, layer="pooled"), of_run), sep="\n")
    print(f"{folder / 'comparison.csv'}, {folder / 'comparison.png'} (.pdf, .svg)")


def summary(scores: pd.DataFrame, of_run: pd.DataFrame) -> list[str]:
    """The first LINES benchmarks in a line each: the model's score beside the run's first student and the ceiling."""
    rows = drawn_benchmarks.drawn(pd.concat([scores, of_run], ignore_index=True))
    student = of_run["model"].iloc[0].partition(", ")[0] if len(of_run) else ""
    others = {target: f"{student}, {label}" for target, label in results.NAMES.items()} if student else {}
    wide = rows.pivot_table(index="name", columns="label", values="value", sort=False)
    ceilings = rows.groupby("name")["noise_ceiling"].first()
    name = scores["model"].iloc[0]
    width = max(map(len, wide.index))
    said = [f"{'':<{width}} {'model':>7}" + "".join(f" {f'{student} {target}':>17}" for target in others) + "  ceiling"]
    for benchmark, row in wide.head(LINES).iterrows():
        values = [_number(row.get(label)).rjust(17) for label in others.values()]
        line = [f"{benchmark:<{width}}", _number(row[name]).rjust(7), *values, f" {_number(ceilings[benchmark])}"]
        said.append(" ".join(line))
    return said


def _number(value: float | None) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
