"""What a reader must know before the results of a run: warnings of its stages, and what is too small to conclude from.

They are read from the tables of the finished run. The page lists them at its top and repeats each in its section.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from alignet import config, results
from alignet.worlds.format import files, regimes

ENOUGH = results.FEW_TRIPLETS  # triplets, pairs or concepts, from which on a result is told
LEAST = "Too few to conclude from"


@dataclass(frozen=True)
class Caution:
    """section: the id of a section of contents.yaml; text: what is so; advice: what to do."""

    section: str
    text: str
    advice: str


def of_run(data: Path, reports: Path) -> list[Caution]:
    """All cautions about a finished run, in the order of the report's sections."""
    tables = reports / "tables"
    found = [*_world(data), *_choices(tables), *_teacher(tables), *_labels(tables), *_levels(tables)]
    return [*found, *_similarity(tables), *_concepts(data)]


def _table(tables: Path, name: str) -> pd.DataFrame:
    """A table of results; one without rows and columns if the run has none of this name."""
    file = tables / f"{name}.csv"
    return results.load(file) if file.is_file() else pd.DataFrame()


def _world(data: Path) -> Iterator[Caution]:
    """The remarks that preflight makes on the choices of a world of one's own."""
    if config.load("world", config.WorldSource).source != "folder" or not (data / "world" / "world.yaml").is_file():
        return
    from alignet.worlds import remarks  # and torch with it
    from alignet.worlds.format import tables

    for remark in remarks.of_choices(tables.read(data / "world")):
        yield Caution(
            "world", f"{remark}.", "Look at these answers before you read on; docs/world.md says what is asked."
        )


def _choices(tables: Path) -> Iterator[Caution]:
    """Choice distributions that know no more of held-out choices than knowing nothing."""
    table = _table(tables, "calibration")
    if table.empty:
        return
    likelihood = table[table["triplets"] == "all"].drop_duplicates("distribution").set_index("distribution")["nll"]
    if {"vice", "uniform"} <= set(likelihood.index) and not likelihood["vice"] < likelihood["uniform"]:
        known = f"an NLL of {likelihood['vice']:.3f} nats, and knowing nothing gives {likelihood['uniform']:.3f}"
        advice = "Collect more choices, or set human_uncertainty.uncertainty to empirical."
        yield Caution("human-uncertainty", f"VICE does not predict held-out choices: {known}.", advice)


def _teacher(tables: Path) -> Iterator[Caution]:
    """A teacher whose map gains nothing on concepts that it was not fitted to."""
    table = _table(tables, "teacher")
    if table.empty:
        return
    held_out = table[(table["split"] == "validation") & (table["chosen"] | (table["map"] == "none"))]
    loss = held_out.groupby("map")["loss"].mean()
    if {"fitted", "none"} <= set(loss.index) and not loss["fitted"] < loss["none"]:
        gained = f"a loss of {loss['fitted']:.3f} on held-out concepts, and {loss['none']:.3f} without it"
        advice = (
            "Collect more choices, or choose other teacher.backbones; labels of this teacher teach nothing of people."
        )
        yield Caution("teacher", f"The teacher's map gains nothing: {gained}.", advice)


def _labels(tables: Path) -> Iterator[Caution]:
    """Labels that an independent witness does not confirm, by target; and labels that nothing has checked."""
    for target in results.TAUGHT:
        file = tables / f"signal_{target}.csv"
        if not file.is_file():
            continue
        table = results.load(file)
        if table.empty:
            advice = "Name a backbone of run.backbones that is not the teacher's."
            yield Caution("labels", f"Labels of {target} were not checked: synthesis.signal_backbone is null.", advice)
            continue
        failed = table[table["warning"].notna()]  # '' is read as a missing value
        schemes = [
            f"{row.scheme} (agreement with {row.witness} {row.agreement:.3f} of {row.n} triplets, threshold "
            f"{row.threshold:.3f})"
            for row in failed.itertuples()
        ]
        if schemes:
            text = f"NO SIGNAL in labels of {target}: {'; '.join(schemes)}."
            advice = (
                "A student agrees with such labels and not with people: conclude nothing from it. Compare the teacher "
                "before and after its fit, check that pictures and labels are in one order, or collect more choices."
            )
            yield Caution("labels", text, advice)


def _levels(tables: Path) -> Iterator[Caution]:
    """Rows of levels.csv about fewer than ENOUGH triplets, and levels without a noise ceiling."""
    table = _table(tables, "levels")
    if table.empty or "n_triplets" not in table:
        return
    scored = table[table["n_triplets"] > 0].drop_duplicates(["study", "regime", "level"])
    if scored.empty:
        advice = (
            "Collect choices about pictures of split test (alignet worlds triplets asks about them), or keep some of "
            "triplets.csv from the fits and run again (alignet worlds hold-out)."
        )
        text = f"No level of abstraction is scored: {table['note'].iloc[0]}. {_cross_fitted(_table(tables, 'teacher'))}"
        yield Caution("levels", text.strip(), advice)
        return
    few = scored[scored["n_triplets"] < ENOUGH]
    if len(few):
        named = (f"{_about(row)} (n = {row['n_triplets']:.0f})" for row in few.to_dict("records"))
        yield Caution("levels", f"{LEAST}: {'; '.join(named)}.", f"Collect {ENOUGH} or more triplets of each.")
    if not (scored["noise_ceiling"].notna() & (scored["n_repeated"] >= ENOUGH)).any():
        several = scored["n_repeated"].max()
        text = f"No noise ceiling is told: at most {several:.0f} triplets of a level were judged by several people."
        yield Caution("levels", text, f"Let several people judge the same {ENOUGH} triplets or more.")


def _cross_fitted(table: pd.DataFrame) -> str:
    """How often the teacher chooses as people do, on triplets of concepts that its fit has not seen, as a sentence."""
    if table.empty or "cross-fitted" not in set(table["split"]):
        return ""
    rows = table[(table["split"] == "cross-fitted") & (table["level"] == "all")].drop_duplicates("map").set_index("map")
    if not {"none", "fitted"} <= set(rows.index):
        return ""
    before, after = rows.loc["none"], rows.loc["fitted"]
    interval = f" [{after['ci_low']:.3f}, {after['ci_high']:.3f}]" if pd.notna(after["ci_low"]) else ""
    return (
        f"By cross-validation, on {after['n_triplets']:.0f} triplets of concepts that a fold has not seen, the teacher "
        f"chooses as people do on {after['odd_one_out_accuracy']:.3f}{interval}, and its features as they are on "
        f"{before['odd_one_out_accuracy']:.3f} (chance .333)."
    )


def _about(row: dict) -> str:
    study = f"study {row['study']}, " if isinstance(row["study"], str) and row["study"] else ""
    return f"{study}{regimes.CONCEPTS.get(str(row['regime']), str(row['regime'])).lower()}, {row['level']}"


def _similarity(tables: Path) -> Iterator[Caution]:
    """Benchmarks about fewer than ENOUGH triplets or pairs."""
    table = _table(tables, "similarity")
    if table.empty or "value" not in table:
        return
    few = table[table["value"].notna() & (table["n"] < ENOUGH)].drop_duplicates(["benchmark", "metric"])
    if len(few):
        named = (f"{row['benchmark']} ({row['n']:.0f})" for row in few.to_dict("records"))
        yield Caution(
            "similarity", f"{LEAST}: {'; '.join(named)}.", f"Collect {ENOUGH} or more triplets or pairs of each."
        )


def _concepts(data: Path) -> Iterator[Caution]:
    """A test split of fewer than ENOUGH concepts."""
    header = data / "world" / "world.yaml"
    if not header.is_file():
        return
    label = yaml.safe_load(header.read_text(encoding="utf-8"))["hierarchy"][0]
    file, columns = files.find(header.parent, "images"), ["split", label]
    if file is None:
        return
    if file.suffix == ".parquet":
        images = pd.read_parquet(file, columns=columns)
    else:
        images = pd.read_csv(file, usecols=columns, dtype=str, keep_default_na=False)
    concepts = images.loc[images["split"] == "test", label].nunique()
    if concepts < ENOUGH:
        text = f"{LEAST}: the test split shows {concepts} values of {label}, and other ones may give other results."
        for section in ("reorganisation", "downstream"):
            yield Caution(section, text, f"Give the test split pictures of {ENOUGH} or more.")
