"""Choose a student's settings on concepts that no result is reported on: python -m alignet.reruns.develop

The concepts that people judged are divided: four fifths become the human split of a new world,
data/development/fold_<k>/world, and the others its test split, with choices at each level drawn from VICE's
distributions. The run's own test split is not used. Every variant of params/variants/development.yaml is trained there,
AligNet and its control alike, and scored by 07_levels and by ten-shot classification. The rule, for each of the two by
itself: of the variants that lose to the base nowhere significantly, the one with the best mean accuracy over the
levels, folds and seeds. Writes reports/tables/development.csv, with the minutes of each.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from alignet import config, results
from alignet.config import HumanUncertainty
from alignet.people.by_level import ByLevel
from alignet.people.embeddings import POSTERIOR
from alignet.people.held_out import parts_to_fit
from alignet.reruns import ablate, variants
from alignet.worlds.format import tables
from alignet.worlds.format.tables import World

# Every fifth concept: the choices that name one of them are lost to the fit, half of all; of a third it would be 70 %.
SHARE, SEED, TRIPLETS, ANSWERS = 5, 0, 1000, 5  # TRIPLETS a level, ANSWERS drawn for each
TEN_SHOT = {"shots": [10], "centroid_draws": 20, "logistic_draws": 0, "ridge_draws": 0, "probe_draws": 1}
STAGES = ("01_world", "02_features", "03_human_uncertainty", "04_teacher", "05_synthesis", "06_student")
TASK = "ten-shot class"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="alignet develop", description=__doc__.split("\n\n")[0])
    parser.add_argument("--variants", default="params/variants/development.yaml", help="from the project's root")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the student")
    parser.add_argument("--folds", nargs="+", type=int, default=[0], help=f"fifths of the concepts, 0 to {SHARE - 1}")
    parser.add_argument("--params-file", default=config.PARAMS)
    parser.add_argument("--out-dir", default=".", help="of the finished run")
    wanted = parser.parse_args(arguments)
    return variants.told(
        lambda: develop(wanted.variants, wanted.folds, wanted.seeds, wanted.params_file, wanted.out_dir)
    )


def develop(file: str, folds: list[int], seeds: list[int], params_file: str, out_dir: str) -> None:
    """Make a development run of each fold, then the variants that are missing, and collect their scores.

    Raises: ValueError if the run is not finished, there is no such fold or the file of variants is wrong;
    CalledProcessError naming a stage.
    """
    data, reports = config.folders(out_dir)
    student, listed = ablate.read(file)
    if wrong := [fold for fold in folds if not 0 <= fold < SHARE]:
        raise ValueError(f"--folds: {wrong[0]} is none of 0 to {SHARE - 1}")
    scores = []
    for fold in folds:
        place = data / "development" / f"fold_{fold}"
        profile = _finished_run(student, params_file, data, place, fold)
        scores += [
            _trained(place, profile, student, entry, place / f"{number}_seed_{seed}", seed).assign(fold=fold)
            for number, entry in enumerate(listed, start=1)
            for seed in seeds
        ]
    table = summary(pd.concat(scores, ignore_index=True))
    results.save(table, reports / "tables" / "development.csv")
    means = table[table["level"] == "mean"].set_index(["variant", "target"])
    print(means[["accuracy", "minutes", "loses", "chosen"]].round(3).to_string())


def _trained(place: Path, profile: Path, student: str, entry: dict, folder: Path, seed: int) -> pd.DataFrame:
    """Scores of one variant with one seed of the student, in a folder of its own."""
    own = entry["changes"].get("students", {}).get(student, {})
    changes = entry["changes"] | {"students": {student: own | {"seed": seed}}}
    variant = variants.Variant(folder, changes, ("07_levels", "10_downstream"))
    scored = variants.run(variant, str(profile), str(place))
    names = {"factor": entry["factor"], "variant": entry["name"], "seed": seed}
    return scores_of(scored, student, minutes(folder)).assign(**names)


def minutes(place: Path) -> pd.Series:
    """The minutes that a variant took to fit a student, by target. Args: place: the variant's folder."""
    table = pd.read_csv(place / variants.MINUTES)
    return table[table["notebook"] == "06_student"].set_index("target")["minutes"]


def development_world(world: World, by_level: ByLevel, settings: HumanUncertainty, fold: int = 0) -> World:
    """The development world, in which one fifth of the judged concepts is the test split, with drawn choices.

    It keeps the synthesis split and the other judged concepts; all other pictures are left out.

    Args: fold: which fifth, 0 to 4; by_level: VICE's distributions of the judged concepts. Choices of a world with
    human ones are 'derived'.
    """
    fitted = parts_to_fit(world, settings).fitted
    triplets, _ = world.choice_rows(world.triplets)
    concepts, human = world.codes(world.hierarchy[0]), torch.zeros(len(world.images), dtype=torch.bool)
    human[world.rows("human")] = True
    judged = concepts[triplets[fitted]].unique()
    order = torch.randperm(len(judged), generator=torch.Generator().manual_seed(SEED))
    held_out = torch.isin(concepts, judged[order[fold::SHARE]])
    kept = torch.isin(concepts, judged) & human
    split = world.images["split"].where(~(kept & held_out).numpy(), "test")
    kept[world.rows("synthesis")] = True
    if world.shared_concepts == "judged":  # a concept of the test split stands in no other
        kept &= human | ~held_out
    inside = fitted & ~held_out[triplets].any(1)
    return dataclasses.replace(
        world,
        name=f"{world.name}, development",
        choices="simulated" if world.choices == "simulated" else "derived",
        images=world.images.assign(split=split)[kept.numpy()].reset_index(drop=True),
        triplets=world.triplets[inside.numpy()].reset_index(drop=True),
        levels=_drawn_choices(world, by_level, by_level.pictures[held_out[by_level.pictures]]),
        ratings=None,
        concept_choices=_without(world, set(world.images.loc[held_out.numpy(), world.hierarchy[0]])),
    )


def _without(world: World, concepts: set[str]) -> pd.DataFrame | None:
    """The choices by name without those that name some concepts; None if no choice is left."""
    table = world.concept_choices
    if table is None:
        return None
    table = table[~table[tables.CONCEPTS].isin(concepts).any(axis=1)].reset_index(drop=True)
    return table if len(table) else None


def _drawn_choices(world: World, by_level: ByLevel, pictures: torch.Tensor) -> pd.DataFrame:
    """Rows of levels.csv: ANSWERS choices for each triplet, each by a drawn participant."""
    generator, parts = torch.Generator().manual_seed(SEED), []
    for level, drawn in by_level.draw(pictures, TRIPLETS, SEED).items():
        odd = torch.multinomial(drawn.targets, ANSWERS, replacement=True, generator=generator)
        shown = world.images["image"].to_numpy()[drawn.triplets.repeat_interleave(ANSWERS, dim=0).numpy()]
        table = pd.DataFrame(shown, columns=["image_0", "image_1", "image_2"])
        people = [f"drawn_{number}" for number in range(ANSWERS)] * len(drawn.triplets)
        parts.append(table.assign(odd=odd.flatten().numpy(), participant=people, level=level))
    if not parts:
        raise ValueError(f"{world.name}: no triplet of different concepts can be drawn at any level")
    return pd.concat(parts, ignore_index=True)


def scores_of(folder: Path, student: str, minutes: pd.Series) -> pd.DataFrame:
    """Accuracy of base, control and AligNet at each level and in the ten-shot task, with their differences to the base,
    each with its interval, and the minutes that the fit took.

    Args: folder: of a variant's tables; minutes: by target.
    """
    levels = pd.read_csv(folder / "levels.csv")
    levels = levels[(levels["student"] == student) & (levels["representation"] == "pooled")]
    levels = levels[levels["level"] != "all"].rename(columns={"odd_one_out_accuracy": "accuracy"})
    shots = pd.read_csv(folder / "downstream.csv")
    shots = shots[(shots["student"] == student) & shots["protocol"].str.startswith("few-shot")]
    finest = next(iter(shots["protocol"]), None)  # a world with few pictures has none
    shots = shots[shots["protocol"] == finest].assign(level=TASK)
    base = shots.loc[shots["target"] == "base", "accuracy"].mean()
    for end in ("", "_low", "_high"):
        shots[f"over_base{end}"] = shots[f"relative_improvement{end}"] * base / 100
    columns = ["level", "target", "accuracy", "over_base", "over_base_low", "over_base_high"]
    table = pd.concat([levels[columns], shots[columns]], ignore_index=True)
    return table.assign(minutes=table["target"].map(minutes))


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each variant, target and level, means over folds and seeds, and one of the mean over the levels
    of abstraction.

    loses: the mean of the upper ends of over_base lies below 0 at a level or in the ten-shot task. chosen: the best
    mean of those that do not lose, for AligNet and for the control by itself. Rows of the base come first, once.
    """
    numbers, key = (
        ["accuracy", "over_base", "over_base_low", "over_base_high", "minutes"],
        ["factor", "variant", "target"],
    )
    base = scores[scores["target"] == "base"].groupby("level", sort=False)["accuracy"].mean()
    start = {"factor": "base", "variant": "base", "target": "base", "level": base.index, "accuracy": base.to_numpy()}
    rows = [pd.DataFrame(start)]
    rows.append(_mean_row(rows[0]))
    fitted = scores[scores["target"] != "base"]
    by_level = fitted.groupby([*key, "level"], sort=False)[numbers].mean().reset_index()
    for _, of_one in by_level.groupby(key, sort=False):
        loses = bool((of_one["over_base_high"] < 0).any())
        rows += [part.assign(loses=loses) for part in (of_one, _mean_row(of_one))]
    repeats = {"n_folds": scores["fold"].nunique(), "n_seeds": scores["seed"].nunique()}
    table = pd.concat(rows, ignore_index=True).assign(**repeats)
    means = table[(table["level"] == "mean") & table["loses"].eq(False)]  # the base's are NaN
    best = means.loc[means.groupby("target")["accuracy"].idxmax(), ["variant", "target"]]
    chosen = pd.MultiIndex.from_frame(table[["variant", "target"]]).isin(pd.MultiIndex.from_frame(best))
    return table.assign(chosen=chosen)


def _mean_row(rows: pd.DataFrame) -> pd.DataFrame:
    levels = rows[rows["level"] != TASK]
    kept = [name for name in ("factor", "variant", "target", "minutes") if name in rows]
    return levels.head(1)[kept].assign(level="mean", accuracy=levels["accuracy"].mean())


def _finished_run(student: str, params_file: str, data: Path, place: Path, fold: int) -> Path:
    """The profile of a fold's development run: its world is made and its stages run up to the students, unless it is
    there and neither the params nor the run have changed.

    Raises: ValueError if the run is not finished or its targets do not come from VICE.
    """
    if not (data / "human_uncertainty").is_dir():
        raise ValueError(f"{data}: has no human_uncertainty: finish the run first (make repro)")
    profile, folder = place / "params.yaml", place / "world"
    backbones = config.value("teacher.backbones", params_file)
    signal = config.value("synthesis.signal_backbone", params_file)
    names = list(dict.fromkeys([*backbones, *([signal] if signal else []), student]))
    run: dict[str, Any] = {"backbones": names, "students": [student], "targets": list(results.TARGETS[1:])}
    world = tables.read(data / "world")
    settings = config.load("human_uncertainty", HumanUncertainty, params_file)
    by_level = ByLevel.of(world, data / "human_uncertainty", settings)
    if by_level is None:
        raise ValueError("human_uncertainty.uncertainty: choices are drawn from VICE's distributions: set it to vice")
    changes: dict[str, Any] = {"run": run, "world": {"source": "folder", "path": str(folder.resolve())}}
    changes |= {"downstream": TEN_SHOT | {"corruptions": [], "public": []}, "levels": {"floor_untrained": False}}
    place.mkdir(parents=True, exist_ok=True)
    profile.write_text(yaml.safe_dump(variants.based_on(params_file) | changes), encoding="utf-8")
    done, posterior = place / variants.DONE, data / "human_uncertainty" / POSTERIOR
    made_from = variants.fingerprint(profile, posterior)
    if not (done.is_file() and done.read_text(encoding="ascii") == made_from):
        with tables.staged(folder) as part:
            tables.write(development_world(world, by_level, settings, fold), part)
        variants.execute(place, profile, _stages(names, student))
        done.write_text(made_from, encoding="ascii")
    return profile


def _stages(backbones: list[str], student: str) -> list[tuple[str, dict[str, str]]]:
    targets = results.TARGETS[1:]
    own = {"02_features": [{"backbone": name} for name in backbones], "05_synthesis": [{"target": t} for t in targets]}
    own["06_student"] = [{"name": student, "target": target} for target in targets]
    return [(stage, names) for stage in STAGES for names in own.get(stage, [{}])]


if __name__ == "__main__":
    sys.exit(main())
