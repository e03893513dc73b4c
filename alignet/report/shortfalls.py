"""Shortfalls of a run: a table, a sentence that counts, the fitted teacher beside ridge regression, and claims.

All numbers come from the tables of a run. The claims of shortfalls.yaml are in words, and their numbers are rows of the
published tables (`claims`); tests/report/test_shortfalls.py compares the words with these tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from alignet import results
from alignet.evaluation import tasks
from alignet.report import figure_map, finding
from alignet.report.finding import concepts, difference, number

CLAIMS = Path(__file__).with_name("shortfalls.yaml")
OTHERS = {
    "over_base": "its base",
    "over_control": "its control",
    "over_floor": "the best floor",  # colours, pixels, or an untrained network
}
CEILING = "above_ceiling"
REGIMES = ("new", "mixed", "known")  # of which the first is told of the teacher
COLUMNS = ["what", "where", "AligNet minus it", "n"]  # of the table
NONE = "AligNet is clearly above its base, its control and the best floor in every score."


@dataclass(frozen=True)
class Shortfall:
    """A score in which AligNet is not clearly above what it is compared with, or below it.

    other: the column of the difference; what: in words; where: concepts and level, or a task; level: the level or the
    task alone; value: the difference with its 95 % interval; n: triplets, or the episodes of a task.
    """

    other: str
    what: str
    where: str
    level: str
    value: str
    n: str


def of_run(rows: pd.DataFrame) -> list[Shortfall]:
    """All shortfalls of the student that the headline is about; [] where no level is scored.

    Args: rows: of `finding.of_run`.
    """
    lead = finding.headline(rows)
    if lead is None:
        return []
    own = finding.told(_own(rows))
    found = [each for name in OTHERS for each in _not_above(own[own[name].notna()], name)]
    for _, row in own[own[f"{CEILING}_high"] < 0].iterrows():
        n = f"{row['n_repeated']:,.0f} triplets"
        found.append(Shortfall(CEILING, "below the noise ceiling", *_where(row), difference(row, CEILING), n))
    return [*found, *_lost_tasks(rows[rows["student"] == lead["student"]])]


def _own(rows: pd.DataFrame) -> pd.DataFrame:
    """AligNet's rows about levels, of the student that the headline is about."""
    own, lead = finding.aligned(rows, "levels"), finding.headline(rows)
    return own[:0] if lead is None else own[own["student"] == lead["student"]]


def _not_above(rows: pd.DataFrame, name: str) -> Iterator[Shortfall]:
    """Scores whose difference to the base, control or best floor is not clearly above 0. Args: name: its column."""
    for _, row in rows[~(rows[f"{name}_low"] > 0)].iterrows():
        what = f"{'below' if row[f'{name}_high'] < 0 else 'not clearly above'} {OTHERS[name]}"
        yield Shortfall(name, what, *_where(row), difference(row, name), f"{row['n']:,.0f} triplets")


def _where(row: pd.Series) -> tuple[str, str]:
    level = "all levels" if row["level"] == "all" else str(row["level"])
    return f"{concepts(row)}, {level}", level


def _lost_tasks(rows: pd.DataFrame) -> Iterator[Shortfall]:
    """Downstream tasks on which AligNet is below, after Holm's correction; none of a table of one run."""
    for name, of in _tested(rows):
        for _, row in of[(of[name] < 0) & (of[tasks.CORRECTED[name]] < tasks.CLEAR)].iterrows():
            where = f"downstream, {row['benchmark']}"
            n = f"{row['n']:,.0f} episodes" if "episodes" in str(row.get("ci_unit")) else ""
            yield Shortfall(f"task_{name}", f"below {OTHERS[name]}", where, where, difference(row, name), n)


def _tested(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Base and control, each with the primary rows of tasks that are compared with it."""
    if {"task", "primary", *tasks.CORRECTED.values()} <= set(rows):
        own = rows[(rows["target"] == results.ALIGNED) & tasks.is_primary(rows)]
        for name, corrected in tasks.CORRECTED.items():
            yield name, own[own[corrected].notna()]


def table(rows: pd.DataFrame) -> list[list[str]]:
    """The cells of `COLUMNS`, a row for each shortfall. Args: rows: of `finding.of_run`."""
    return [[each.what, each.where, each.value, each.n] for each in of_run(rows)]


def sentence(rows: pd.DataFrame) -> str:
    """How many scores fall short of what, and at which levels; '' where no level is scored.

    Args: rows: of `finding.of_run`.
    """
    if finding.headline(rows) is None:
        return ""
    found, own = of_run(rows), finding.told(_own(rows))
    counts = {name: _count(found, own, name) for name in OTHERS}
    near = [f"{OTHERS[name]} in {count}" for name, count in counts.items() if count]
    said = [f"not clearly above {', '.join(near)}"] if near else []
    below = _count(found, own, CEILING)
    said += [f"below the noise ceiling in {below}"] if below else []
    for name, of in _tested(rows):
        lost = [each for each in found if each.other == f"task_{name}"]
        if lost:
            said.append(f"below {OTHERS[name]} on {len(lost)} of {len(of)} downstream tasks")
    return f"AligNet is {'; '.join(said)}." if said else NONE


def _count(found: list[Shortfall], own: pd.DataFrame, name: str) -> str:
    """How many scores fall short, and at which levels: '2 of 11 scores (fine)'; '' for none. Args: own: all scores."""
    levels = [each.level for each in found if each.other == name]
    tested = own[f"{name}_high"].notna().sum() if name == CEILING else own[name].notna().sum()
    return f"{len(levels)} of {tested} scores ({', '.join(dict.fromkeys(levels))})" if levels else ""


def beside_ridge(tables: Path) -> str:
    """Whether the fitted teacher chooses as people do more often than ridge regression alone; '' where it is unknown.

    teacher.csv has an interval for each of the two and none for their difference: they are told apart only if neither
    interval holds the other's accuracy.

    Args: tables: the run's folder of tables.
    """
    if not (tables / "teacher.csv").is_file():
        return ""
    scores = results.load(tables / "teacher.csv")
    scores = scores[scores["split"].isin(["cross-fitted", *REGIMES])]
    if scores.empty:
        return ""
    scores = scores[(scores["level"] == "all") & (scores["n_triplets"] >= results.FEW_TRIPLETS)]
    pairs = {}
    for split in ("cross-fitted", *[name for name in REGIMES if (scores["split"] == name).any()][:1]):
        of = scores[scores["split"] == split].drop_duplicates("map", keep="last").set_index("map")
        if {"ridge", "fitted"} <= set(of.index):
            about = "cross-fitted triplets" if split == "cross-fitted" else f"triplets about {split} concepts"
            pairs[f"{of.loc['fitted', 'n_triplets']:,.0f} {about}"] = of.loc["fitted"], of.loc["ridge"]
    return _verdict(pairs) if pairs else ""


def _verdict(pairs: dict[str, tuple[pd.Series, pd.Series]]) -> str:
    """Fitted teacher and ridge regression in words. Args: pairs: n and what the triplets are about -> the two rows."""
    if all(fitted["steps"] == 0 for fitted, _ in pairs.values()):
        scores = "; in ".join(f"{_accuracy(fitted)} of {where}" for where, (fitted, _) in pairs.items())
        return (
            "The fitted teacher is ridge regression itself, since the chosen fit takes no step from it: it chooses as "
            f"people do in {scores} (one run)."
        )
    words = {_apart(fitted, ridge) for fitted, ridge in pairs.values()}
    verdict = words.pop() if len(words) == 1 else "not always above"
    scores = "; in ".join(f"{_accuracy(a)} and {_accuracy(b)} of {where}" for where, (a, b) in pairs.items())
    return (
        f"The fitted teacher is {verdict} ridge regression alone: the two choose as people do in {scores} (one run). "
        "Each interval is of one of the two; no table has the interval of their difference."
    )


def _apart(fitted: pd.Series, ridge: pd.Series) -> str:
    value, other = fitted[finding.ACCURACY], ridge[finding.ACCURACY]
    if fitted["ci_low"] <= other <= fitted["ci_high"] or ridge["ci_low"] <= value <= ridge["ci_high"]:
        return "not told apart from"
    return "above" if value > other else "below"


def _accuracy(row: pd.Series) -> str:
    return f"{number(row[finding.ACCURACY])} [{number(row['ci_low'])}, {number(row['ci_high'])}]"


def claims(reference: Path) -> list[str]:
    """The claims of shortfalls.yaml as items of a Markdown list, with their numbers of the published tables.

    Args: reference: the folder of the published runs.
    Raises: ValueError naming what no row of a table fits.
    """
    found = []
    for claim in yaml.safe_load(CLAIMS.read_text(encoding="utf-8")):
        numbers = {
            name: figure_map.published_number(spec, reference) for name, spec in claim.get("numbers", {}).items()
        }
        text = claim["text"].format(**numbers)
        found.append(f"- **{claim['claim']}**{'' if text.startswith(',') else ' '}{text}")
    return found
