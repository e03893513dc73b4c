"""Score any model on a world's Levels, similarity and downstream tasks, beside the models that were scored before.

python -m alignet.evaluation --backbone NAME --weights timm|package|random|FILE [--layer L] [--picture-size N]
python -m alignet.evaluation --features FILE [--names FILE]

NAME is a timm model, or local-dir:FOLDER of an exported student (`alignet.export`). --features scores what another
program computed of the world's pictures: a file as models/feature_files.py describes it. The rows are added to
reports/comparison/comparison.csv, where they replace those of the same model, and drawn with the students of the run.
Other models, such as a torch module: `alignet.evaluation.score` in Python.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from alignet import config, results
from alignet.evaluation import benchmarks, scoring
from alignet.figures import benchmarks as drawn_benchmarks
from alignet.figures import style
from alignet.models import feature_files
from alignet.worlds.format import tables

LINES = 10  # of the summary
UNSAID = {"layer": "pooled", "picture_size": 224}  # of a backbone, where the command says nothing


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet evaluate", description=__doc__.split("\n\n")[0])
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--backbone", help="a timm model, or local-dir:FOLDER of an exported student")
    kind.add_argument("--features", metavar="FILE", help="features of the world's pictures: .npy, .npz or .csv")
    names = "text file, a picture's name a line; file_names.txt beside --features if left out"
    parser.add_argument("--names", metavar="FILE", help=names)
    parser.add_argument("--weights", help="of --backbone: timm, package, random or a file")
    options = "of timm's model, for instance img_size=224"
    parser.add_argument("--options", type=_option, nargs="+", default=[], metavar="NAME=VALUE", help=options)
    parser.add_argument("--layer", help="pooled (if left out), or the name of a block")
    parser.add_argument("--picture-size", type=_size, help=f"pixels; {UNSAID['picture_size']} if left out")
    parser.add_argument("--name", help="in table and figure; the backbone's or the file's if left out")
    parser.add_argument("--params-file", default="params.yaml")
    parser.add_argument("--out-dir", default=".", help="of the run: its data/world is scored on")
    wanted = parser.parse_args(arguments)
    if "" in (wanted.backbone, wanted.features):
        parser.error("--backbone, --features: no name")
    if wanted.features:
        config.refuse_beside(parser, wanted, "--features", "weights", "options", "layer", "picture_size")
    else:
        config.refuse_beside(parser, wanted, "--backbone", "names")
    if wanted.backbone and not wanted.weights:
        parser.error("--backbone: --weights is missing: timm, package, random or a file")
    said = {name: value for name, value in vars(wanted).items() if value is not None}
    try:
        run(argparse.Namespace(**vars(wanted) | UNSAID | said))
    except (ValueError, OSError) as error:  # OSError: a place that cannot be written to
        print(error, file=sys.stderr)
        return 1
    return 0


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of pixels")
    return int(text)


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"{text!r}: {value!r} cannot be read as a value") from None


def run(wanted: argparse.Namespace) -> None:
    """Score a model, add it to the table, draw the table, and compare the model with the run's first student."""
    data, reports = config.folders(wanted.out_dir)
    world, name = tables.read(data / "world"), wanted.name or wanted.backbone or Path(wanted.features).stem
    scored, found = model_of(wanted, name, world), {}
    for number, benchmark in enumerate(scoring.BENCHMARKS, start=1):
        print(f"[{number}/{len(scoring.BENCHMARKS)}] {benchmark}", flush=True)
        found[benchmark] = scored.on(benchmark)
    scores = benchmarks.tidy(found)
    read = (wanted.weights, wanted.layer, wanted.picture_size) if wanted.backbone else (wanted.features, "pooled", 0)
    key = dict(zip(benchmarks.MODEL, (name, *read, world.name), strict=True))
    folder = reports / "comparison"
    table = benchmarks.with_model(folder / "comparison.csv", key, scores)
    style.use()
    of_run = benchmarks.of_the_run(reports, world)
    drawn = _below(of_run, table[table["world"] == world.name])
    style.save(drawn_benchmarks.by_model(drawn), folder / "comparison")
    print(*summary(scores.assign(model=name, layer="pooled"), of_run), sep="\n")
    print(f"{folder / 'comparison.csv'}, {folder / 'comparison.png'} (.pdf, .svg)")


def model_of(wanted: argparse.Namespace, name: str, world: tables.World) -> scoring.Model:
    """The model or the file of features that the words name, in the world."""
    settings = scoring.resolved(wanted.params_file)
    if wanted.features:
        names, features = feature_files.read(config.FeatureFile(features=wanted.features, names=wanted.names))
        return scoring.Model(features, name, world, settings, names, source=wanted.features)
    model = config.Backbone(
        model=wanted.backbone,
        options=dict(wanted.options),
        weights=wanted.weights,
        layer=wanted.layer,
        seed=0,
        picture_size=wanted.picture_size,
    )
    return scoring.Model(model, name, world, settings)


def summary(scores: pd.DataFrame, of_run: pd.DataFrame) -> list[str]:
    """A line for each of the first LINES benchmarks: the scores of the model and of the run's first student, and the
    ceiling.
    """
    rows = drawn_benchmarks.drawn(_below(scores, of_run))
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


def _below(*scores: pd.DataFrame) -> pd.DataFrame:
    """Tables of scores, one below the other; those without rows would make objects of the others' numbers."""
    return pd.concat([table for table in scores if len(table)] or scores[:1], ignore_index=True)


def _number(value: float | None) -> str:
    return "-" if pd.isna(value) else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
