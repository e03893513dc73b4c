"""docs/results.md and the results in README.md, from the tables of the published runs.

python -m alignet.report.results_page

Every number in them comes from reports/reference/<world>/tables; a test compares, so that none can drift.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from alignet import config, results
from alignet.evaluation import published, tasks
from alignet.worlds.format.schema import LEVELS, PARTICIPANTS

PUBLISHED = {  # a run in reports/reference -> its title and what it is of
    "things": ("THINGS", "photographs of THINGS and the choices of the people who saw them (`params/things.yaml`)"),
    "emoji": ("Emoji", "the embedded world, which needs no download (`params.yaml`)"),
}
REGIMES = {"new": "new", "known": "known", "mixed": "mixed"}
FEWEST = 10  # triplets of a row that is told
ENOUGH = 30  # triplets, all folds together, of a row about the teacher
MARK = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)
ACCURACY = "odd_one_out_accuracy"


SHORTFALLS = Path(__file__).with_name("shortfalls.md")  # in words: the numbers are above
INTRODUCTION = """# Results

Made by `python -m alignet.report.results_page` from the tables in `reports/reference/`; do not edit.

- Accuracy: mean over triplets of the share of people's choices that the model makes too, by the plain cosine of its
  pooled representation; chance .333.
- Brackets: 95 % intervals over training seeds and over triplets that share concepts, together (docs/method.md,
  section 10).
- *New* concepts: no judgement, fit or synthesis picture showed them. *Known*: held-out triplets of concepts that were
  judged in the fit. *Mixed*: some and some.
- Control (UnAligNet): a student of the same teacher without its map.
- People agree: one person with the majority of the others, where several people judged a triplet."""


@dataclass(frozen=True)
class Run:
    """The tables of a published run. seeds: over training seeds; the others: of one run."""

    name: str
    tables: Path

    def table(self, name: str) -> pd.DataFrame:
        return results.load(self.tables / f"{name}.csv")

    @property
    def choices(self) -> pd.DataFrame:
        """The rows of seeds.csv about choices at the levels of abstraction."""
        seeds = self.table("seeds")
        return seeds[seeds["benchmark"].str.startswith("levels, ") & (seeds["metric"] == ACCURACY)]


def page(reference: Path) -> str:
    """The page docs/results.md. Args: reference: the folder of the published runs."""
    lines = INTRODUCTION.splitlines()
    for name, (title, of) in PUBLISHED.items():
        if (reference / name / "tables" / "seeds.csv").is_file():
            run = Run(name, reference / name / "tables")
            lines += ["", f"## {title}: {of}", "", *_asked(run), *_headline(run), "", *_levels(run)]
            lines += [*_study(run), *_teacher(run), *_teacher_on_people(run)]
            lines += [*_people(run), *_unsure(run), *_downstream(run)]
    return "\n".join(lines) + "\n" + SHORTFALLS.read_text(encoding="utf-8")


def headline(reference: Path) -> str:
    """The block of README.md: one sentence and one table of the run with the best data that is published."""
    name = next(name for name in PUBLISHED if (reference / name / "tables" / "seeds.csv").is_file())
    run = Run(name, reference / name / "tables")
    lines = [
        _sentence(run),
        "",
        *_asked(run),
        *_headline(run),
        "",
        *_levels(run, regimes=("new", "known"), levels=("coarse", "boundary", "fine", "all")),
    ]
    return "\n".join(lines) + "\n"


def _sentence(run: Run) -> str:
    """The finding in a sentence, beside the paper's number."""
    rows = run.choices
    new = rows[(rows["regime"] == "new") & (rows["level"] == "coarse") & (rows["target"] == "alignet")].iloc[0]
    base, control = new["mean"] - new["over_base"], new["mean"] - new["over_control"]
    percent = 100 * new["over_base"] / base
    people, before, after = (_number(value) for value in (new["mean"], base, control))
    return (
        f"On concepts that nobody judged in the fit, {new['student']} chooses as people do in **{people}** of coarse\n"
        f"triplets after alignment, {before} before and {after} after the control: {percent:+.0f} % over its base\n"
        f"(the paper, on Levels: up to {_published_percent():g} %) and {_signed(new, 'over_control')} over the control."
    )


def _published_percent() -> float:
    """The paper's largest gain at the coarse level, in percent of the base."""
    rows = pd.read_csv(published.PUBLISHED).set_index("quantity")
    return float(rows.loc["relative improvement at the coarse level", "published"])


def _asked(run: Run, studies: bool = True) -> Iterator[str]:
    """Who was asked, and how many choices are scored; with those of the named studies or without."""
    rows = run.choices
    first = rows.iloc[0]
    judged = f", who were shown {first['judged']}" if isinstance(first["judged"], str) else ""
    scored = rows[(rows["level"] == "all") & (rows["target"] == "base")].drop_duplicates(["study", "regime"])
    scored = scored[(scored["study"].isna() & (scored["regime"] != "all")) | (scored["regime"] == "all")]
    yield f"Scored against {PARTICIPANTS[first['choices']]}{judged}; {int(first['n_seeds'])} training seeds."
    for row in scored.to_dict("records"):
        study = f"the study of {row['study']}" if isinstance(row["study"], str) else f"{row['regime']} concepts"
        unnamed = f" and of {int(row['n_unnamed']):,} whom no file names" if row["n_unnamed"] > 0 else ""
        if studies or not isinstance(row["study"], str):
            yield (
                f"{study.capitalize()}: {int(row['n_choices']):,} choices of {int(row['n_people']):,} people{unnamed}, "
                f"about {int(row['n']):,} triplets."
            )


def _levels(
    run: Run, regimes: Iterable[str] = tuple(REGIMES), levels: Iterable[str] = (*LEVELS, "all")
) -> Iterator[str]:
    rows = run.choices
    rows = rows[rows["study"].isna()]
    yield from _table(rows, regimes, levels)
    floors = [*_floors(rows[rows["level"].isin(list(levels))], regimes)]
    yield from ["", *floors] if floors else []


def _table(rows: pd.DataFrame, regimes: Iterable[str], levels: Iterable[str]) -> Iterator[str]:
    """The models beside each other; with the teacher and the share of its gain that AligNet keeps where rows say."""
    more = [name for name, there in (("teacher", _with_teacher(rows)), ("gain kept", _with_kept(rows))) if there]
    names = ["concepts, level", "base", "control", "AligNet", *more, "over base", "over control", "people agree"]
    yield "| " + " | ".join([*names, "triplets"]) + " |"
    yield "|---" * (len(names) + 1) + "|"
    yield from _rows(rows, regimes, levels)


def _with_teacher(rows: pd.DataFrame) -> bool:
    return bool((rows["target"] == results.TEACHER).any())


def _with_kept(rows: pd.DataFrame) -> bool:
    return "kept" in rows and bool(rows["kept"].notna().any())


def _rows(rows: pd.DataFrame, regimes: Iterable[str], levels: Iterable[str]) -> Iterator[str]:
    teachers, of_students = rows[rows["target"] == results.TEACHER], rows[rows["target"].isin(results.TARGETS)]
    several = of_students["student"].nunique() > 1
    for student in dict.fromkeys(of_students["student"]):
        for regime in regimes:
            for level in levels:
                some = of_students[(of_students["regime"] == regime) & (of_students["level"] == level)]
                of = some[some["student"] == student].set_index("target")
                if not {"base", "alignet"} <= set(of.index) or of.loc["alignet", "n"] < FEWEST:
                    continue
                aligned = of.loc["alignet"]
                cells = [f"{student}, " * several + f"{regime}, {level}"]
                cells += [_number(of["mean"].get(target)) for target in results.TARGETS]
                there = teachers[(teachers["regime"] == regime) & (teachers["level"] == level)]["mean"]
                cells += [_number(there.iloc[0] if len(there) else None)] * _with_teacher(rows)
                if _with_kept(rows):
                    cells.append(_signed(aligned, "kept").lstrip("+"))
                cells += [_signed(aligned, "over_base"), _signed(aligned, "over_control")]
                cells += [_number(aligned["noise_ceiling"]), f"{int(aligned['n']):,}"]
                yield "| " + " | ".join(cells) + " |"


def _study(run: Run) -> Iterator[str]:
    """Studies that stand apart: their ceilings have many answers."""
    rows = run.choices
    for study in rows["study"].dropna().unique():
        of = rows[rows["study"] == study]
        people = int(of["n_people"].max())
        yield from ("", f"### The study of {study}: {people} people, every one judged every triplet", "")
        yield from _table(of, ("all", *REGIMES), (*LEVELS, "all"))


def _teacher(run: Run) -> Iterator[str]:
    """The teacher before and after its fit, on people's choices of concepts that a fold did not see."""
    scores = run.table("teacher")
    chosen = scores[(scores["chosen"].astype(str) == "True") | (scores["map"] == "none")]
    columns = [ACCURACY, "kl", "ece", "participation_ratio"]
    held_out = chosen[chosen["split"].isin(["validation", "test"])]
    enough = held_out.groupby(["split", "level", "map"])["n_triplets"].transform("sum") >= ENOUGH
    means = held_out[enough].groupby(["split", "level", "map"], sort=False)[columns].mean()
    yield from ("", "### The teacher, on concepts that its fold did not see (one run)", "")
    yield "| choices | accuracy before | after | KL before | after | ECE after |"
    yield "|---" * 6 + "|"
    for split, level in dict.fromkeys((split, level) for split, level, _ in means.index):
        before, after = (means.loc[(split, level, kind)] for kind in ("none", "fitted"))
        what = "people's" if level == "judged" else f"drawn from VICE, {level}"
        cells = [f"{what} ({split})", *(_number(each[ACCURACY]) for each in (before, after))]
        cells += [*(_number(each["kl"]) for each in (before, after)), _number(after["ece"])]
        yield "| " + " | ".join(cells) + " |"


def _teacher_on_people(run: Run) -> Iterator[str]:
    """The teacher on people's choices: about concepts that a fold did not see (cross-fitted), and those of levels.csv.
    By its own dot products, a triplet counting once."""
    scores = run.table("teacher")
    rows = scores[scores["split"].isin(["cross-fitted", *REGIMES]) & (scores["n_triplets"] >= FEWEST)]
    if rows.empty:
        return
    yield from ("", "| concepts, level | without a map | ridge | fitted | ECE of it | triplets |", "|---" * 6 + "|")
    for (split, level), some in rows.groupby(["split", "level"], sort=False):
        of = some.drop_duplicates("map", keep="last").set_index("map")
        fitted = of.loc["fitted"]
        cells = [f"{split}, {level}", *(_number(of[ACCURACY].get(name)) for name in ("none", "ridge"))]
        ends = f" [{_number(fitted['ci_low'])}, {_number(fitted['ci_high'])}]"
        cells += [_number(fitted[ACCURACY]) + ends, _number(fitted["ece"]), f"{int(fitted['n_triplets']):,}"]
        yield "| " + " | ".join(cells) + " |"


def _people(run: Run) -> Iterator[str]:
    """VICE on held-out choices, and beside the published embeddings."""
    scores = run.table("calibration")
    yield from ("", "### People's uncertainty: VICE on held-out choices (one run)", "")
    yield "| distribution | triplets | NLL, nats | accuracy | ECE | one person with the others |"
    yield "|---" * 6 + "|"
    for row in scores.to_dict("records"):
        cells = [f"{row['distribution']}, {row['triplets']}", f"{int(row['n_triplets']):,}", _number(row["nll"])]
        cells += [_number(row["accuracy"]), _number(row["ece"]), _number(row["noise_ceiling"])]
        yield "| " + " | ".join(cells) + " |"
    if (run.tables / "embeddings.csv").is_file():
        yield from _embeddings(run.table("embeddings"))


def _embeddings(table: pd.DataFrame) -> Iterator[str]:
    yield from ("", "| embedding | dimensions | metric | against | value | held out |", "|---" * 6 + "|")
    for row in table.to_dict("records"):
        cells = [str(row["embedding"]), f"{int(row['dimensions'])}", str(row["metric"]), str(row["against"])]
        ends = f" [{_number(row['ci_low'])}, {_number(row['ci_high'])}]"
        yield "| " + " | ".join([*cells, _number(row["value"]) + ends, str(row["held_out"])]) + " |"


def _unsure(run: Run) -> Iterator[str]:
    """Spearman of the models' uncertainty with people's, where people's choices repeat."""
    seeds = run.table("seeds")
    rows = seeds[seeds["benchmark"].str.startswith("uncertainty, ") & seeds["n"].fillna(0).ge(10)]
    rows = rows[rows["mean"].notna() & (rows["level"] == "all")]
    if rows.empty:
        return
    yield from ("", "### Are models unsure where people are? Spearman within levels, mean of the levels", "")
    yield "| choices | base | control | AligNet | over base | over control | ceiling |"
    yield "|---" * 7 + "|"
    for (student, benchmark), some in rows.groupby(["student", "benchmark"], sort=False):
        of = some.set_index("target")
        if "alignet" in of.index:
            aligned = of.loc["alignet"]
            cells = [f"{student}, {benchmark.removeprefix('uncertainty, ').replace('_', ' ')}"]
            cells += [_number(of["mean"].get(target)) for target in results.TARGETS]
            cells += [
                _signed(aligned, "over_base"),
                _signed(aligned, "over_control"),
                _number(aligned["noise_ceiling"]),
            ]
            yield "| " + " | ".join(cells) + " |"


def _downstream(run: Run) -> Iterator[str]:
    """On how many tasks AligNet leads, by the primary row of each, corrected for their number; and these rows."""
    seeds = run.table("seeds")
    if "task" not in seeds:
        return
    rows = seeds[tasks.is_primary(seeds)]
    aligned, every = rows[rows["target"] == "alignet"], seeds[seeds["task"].notna() & (seeds["target"] == "alignet")]
    if aligned.empty:
        return
    yield from ("", "### Downstream", "")
    for student, of in aligned.groupby("student", sort=False):
        said = []
        for other, name in (("over_base", "the base"), ("over_control", "the control")):
            above, below, tested = tasks.leads(of, other)
            said.append(f"above {name} in {above} and below in {below} of {tested}")
        secondary = len(every[every["student"] == student]) - len(of)
        yield (
            f"{student}, {len(of)} tasks (a data set, or a column of the world's labels; one row of each was fixed\n"
            f"beforehand): AligNet is {'; '.join(said)} (p < .05 after Holm's correction for the number of tasks).\n"
            f"The other {secondary} rows of seeds.csv are of the same pictures and are not counted."
        )
    yield from ("", "| task, primary row | base | control | AligNet | over base | over control |", "|---" * 6 + "|")
    for (student, benchmark, metric), some in rows.groupby(["student", "benchmark", "metric"], sort=False):
        of = some.set_index("target")
        if "alignet" in of.index:
            cells = [f"{student}, {benchmark}, {metric.removeprefix('accuracy, ')}"]
            cells += [_number(of["mean"].get(target)) for target in results.TARGETS]
            cells += [_signed(of.loc["alignet"], name) for name in ("over_base", "over_control")]
            yield "| " + " | ".join(cells) + " |"


def _headline(run: Run) -> Iterator[str]:
    """The paper's headline beside ours: the gain at the coarse level, the reliability of people that is passed or not,
    and uncertainty; nothing of a run whose seeds.csv is older than these columns."""
    seeds = run.table("seeds")
    if "relative_improvement" not in seeds:
        return
    aligned = seeds[(seeds["target"] == "alignet") & (seeds["n"].fillna(0) >= FEWEST)]
    yield from ("", "| the paper's headline | the paper | here |", "|---" * 3 + "|")
    of_levels = aligned[aligned["benchmark"].str.startswith("levels, ")]
    coarse = of_levels[of_levels["level"] == "coarse"]
    for row in _told(coarse).to_dict("records"):
        gain = _percent(row)
        yield f"| over the base at the coarse level, {_concepts(row)} | up to {_published_percent():g} % | {gain} |"
    for row in _told(of_levels[of_levels["above_ceiling_low"].notna()]).to_dict("records"):
        word = (
            "passed" if row["above_ceiling_low"] > 0 else "not passed" if row["above_ceiling_high"] < 0 else "reached"
        )
        here = f"{word}: {_signed(pd.Series(row), 'above_ceiling')}"
        yield f"| reliability of people, {_concepts(row)}, {row['level']} | {_no_number()} | {here} |"
    unsure = aligned[aligned["benchmark"].str.startswith("uncertainty, ") & (aligned["level"] == "all")]
    for row in _told(unsure[unsure["mean"].notna()]).to_dict("records"):
        people, ceiling = (
            f"{int(row['n_people'])} people, " if row["n_people"] > 0 else "",
            _number(row["noise_ceiling"]),
        )
        kind = row["benchmark"].rsplit(", ", 1)[1].replace("_", " ")
        here = f"{_number(row['mean'])} [{_number(row['ci_low'])}, {_number(row['ci_high'])}]; "
        here += f"over base {_signed(pd.Series(row), 'over_base')}; ceiling {ceiling}"
        yield f"| Spearman with people's {kind}, {people}{_concepts(row)} | {_no_number()} | {here} |"


def _no_number() -> str:
    return "no number could be read"


def _told(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows about new and known concepts, and of a study those about all of its triplets."""
    return rows[np.where(rows["study"].notna(), rows["regime"] == "all", rows["regime"].isin(["new", "known"]))]


def _concepts(row: dict) -> str:
    study = f"study of {row['study']}" if isinstance(row["study"], str) else f"{row['regime']} concepts"
    return f"{row['student']}, {study}"


def _percent(row: dict) -> str:
    value, low, high = (row[f"relative_improvement{end}"] for end in ("", "_low", "_high"))
    ends = "" if pd.isna(low) else f" [{low:+.0f}, {high:+.0f}]"
    return f"{value:+.0f} %{ends}"


def _floors(rows: pd.DataFrame, regimes: Iterable[str]) -> Iterator[str]:
    """What floors score, and where AligNet is not clearly above the best of them; nothing of a run without floors."""
    of_floors = rows[rows["target"] == results.FLOOR]
    if of_floors.empty:
        return
    for regime in regimes:
        some = of_floors[(of_floors["regime"] == regime) & (of_floors["n"] >= FEWEST)]
        aligned = rows[(rows["target"] == "alignet") & (rows["regime"] == regime) & (rows["n"] >= FEWEST)]
        if some.empty or aligned.empty:
            continue
        said = [
            f"{level}: " + ", ".join(f"{row['student']} {_number(row['mean'])}" for row in of.to_dict("records"))
            for level, of in some.groupby("level", sort=False)
        ]
        near = aligned[~(aligned["over_floor_low"] > 0)]
        far = ", ".join(f"{row['student']} {row['level']} ({_signed(row, 'over_floor')})" for _, row in near.iterrows())
        verdict = (
            f"**Not clearly above the best floor: {far}.**"
            if far
            else "AligNet is above the best floor at every level."
        )
        yield f"Floors ({regime} concepts): {'; '.join(said)}. {verdict}"


def _number(value: object) -> str:
    """Three digits without the zero before the point; nothing for no value."""
    number = pd.to_numeric(value)
    return "" if pd.isna(number) else f"{number:.3f}".replace("0.", ".", 1) if abs(number) < 1 else f"{number:.3f}"


def _signed(row: pd.Series, name: str) -> str:
    """A difference with its interval."""
    if pd.isna(row[name]):
        return ""
    ends = "" if pd.isna(row[f"{name}_low"]) else f" [{_number(row[f'{name}_low'])}, {_number(row[f'{name}_high'])}]"
    return f"{'+' if row[name] > 0 else ''}{_number(row[name])}{ends}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.report.results_page", description=__doc__.split("\n\n")[0])
    parser.parse_args(arguments)
    reference, readme = config.home() / "reports" / "reference", config.home() / "README.md"
    (config.home() / "docs" / "results.md").write_text(page(reference), encoding="utf-8")
    readme.write_text(with_headline(readme.read_text(encoding="utf-8"), reference), encoding="utf-8")
    return 0


def with_headline(readme: str, reference: Path) -> str:
    """README.md with its block of results made anew."""
    return MARK.sub(lambda found: found[1] + headline(reference) + found[2], readme)


if __name__ == "__main__":
    sys.exit(main())
