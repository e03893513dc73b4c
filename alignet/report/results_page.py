"""docs/results.md and the results in README.md, from the tables of the published runs.

python -m alignet.report.results_page

Every number in them comes from reports/reference/<world>/tables; a test compares, so that none can drift.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from alignet import config, results
from alignet.evaluation import tasks
from alignet.report import finding, shortfalls
from alignet.report.finding import difference, number, percent, scored
from alignet.worlds.format import regimes
from alignet.worlds.format.schema import LEVELS, PARTICIPANTS


@dataclass(frozen=True)
class World:
    """title: as tables name it; of: what it is; pictures: what models see."""

    title: str
    of: str
    pictures: str


PUBLISHED = {  # a run in reports/reference; the first is README's
    "things": World(
        "THINGS",
        "photographs of THINGS and the choices of the people who saw them (`params/things.yaml`)",
        "photographs",
    ),
    "emoji": World("Emoji", "the embedded world, which needs no download (`params.yaml`)", "emoji"),
}
OTHERS = {  # runs beside a published one, by what follows its name: a heading, and what differs
    "split_1": (
        "Another split into judged and new concepts",
        "Settings are those of the run above; they were not chosen on these concepts (docs/reproducing.md).",
    ),
    "clip": (
        "A teacher whose network saw pictures with text",
        "The teacher reads the published features of CLIP ViT-B/32 (`params/things_clip.yaml`), as the paper's reads "
        "those of SigLIP. They are of one photograph of each concept, which gives its other photographs their labels; "
        "ImageNet's photographs are left out. The students' network and settings are those of the run above.",
    ),
}
REGIMES = ("new", "known", "mixed", "all")  # in this order in tables; all: of a study
FITTED = list(reversed(results.TARGETS[1:]))  # AligNet, then its control
FEWEST = finding.FEWEST
MARK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
ACCURACY = finding.ACCURACY
TIMES = Path("bench") / "times.csv"  # how long set-up and published runs took; README's only source of times

NOT_READ = "Not read: the paper's tables could not be had."
HEAD = """# Results

Made by `python -m alignet.report.results_page` from the tables in `reports/reference/`; do not edit."""
INTRODUCTION = f"""## How to read the tables

- Each table says whether it is of one run or of means over training seeds. Brackets are 95 % intervals: of one run over
  triplets that share concepts, of means over training seeds and such triplets together (docs/method.md, section 10).
- Accuracy: mean over triplets of the share of people's choices that the model makes too, by the plain cosine of its
  pooled representation; chance .333.
- *New* concepts: no judgement, fit or synthesis picture showed them. *Known*: held-out triplets of concepts that were
  judged in the fit. *Mixed*: triplets of known and of new concepts.
- *Coarse*: three classes; *boundary*: two pictures of one class and one of another; *fine*: one class. A triplet with
  two or three pictures that belong to no class has no level; it counts in *all* alone.
- Control (UnAligNet): the same student, taught by the teacher's features without the map that people's choices fitted.
  Gain kept: the share of the teacher's gain by its map that AligNet has over its control.
- Floors: a histogram of 64 colours, 4 x 4 pixels, and an untrained network.
- Noise ceiling: how often one person chooses as the majority of the others do. AligNet minus noise ceiling is of the
  triplets that several people judged, and neither is told of fewer than {results.FEW_TRIPLETS}. The noise ceiling of
  a rank correlation is what the number of answers to a triplet allows.
- Sampled from VICE: triplets taken at random at each level of abstraction, with VICE's distributions in place of
  people's choices.
- Not read: the paper's own tables could not be had where this was written."""


@dataclass(frozen=True)
class Run:
    """The tables of a published run. seeds: over training seeds; the others: of one run."""

    name: str
    tables: Path

    def table(self, name: str) -> pd.DataFrame:
        return results.load(self.tables / f"{name}.csv")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """seeds.csv; study and regime are text."""
        return finding.of_run(self.tables)

    @property
    def choices(self) -> pd.DataFrame:
        """The rows of seeds.csv about choices at the levels of abstraction."""
        seeds = self.scores
        return seeds[seeds["benchmark"].str.startswith("levels, ") & (seeds["metric"] == ACCURACY)]


def page(reference: Path) -> str:
    """The page docs/results.md. Args: reference: the folder of the published runs."""
    runs = [Run(name, reference / name / "tables") for name in _published(reference)]
    lines = [*HEAD.splitlines(), ""]
    for run in runs:
        said = f"{finding.sentence(run.scores)} {finding.control(run.scores)}"
        lines += [_filled(f"**{PUBLISHED[run.name].title}.** {said}"), ""]
    lines += INTRODUCTION.splitlines()
    for run in runs:
        world = PUBLISHED[run.name]
        lines += ["", f"## {world.title}: {world.of}", "", *_asked(run), ""]
        lines += [*_headline(run), *_falls_short(run), *_levels(run), *_others(run), *_study(run)]
        lines += [*_teacher(run), *_teacher_on_people(run)]
        lines += [*_people(run), *_unsure(run), *_downstream(run), *_developed(run), *_ablations(run)]
    lines += ["", "## What falls short, and why", "", *map(_filled, shortfalls.claims(reference))]
    return "\n".join(lines) + "\n"


def headline(reference: Path) -> str:
    """The block of README.md: the finding of the run with the best data, beside the paper; and who was asked."""
    runs = [Run(name, reference / name / "tables") for name in _published(reference)]
    scores = runs[0].scores
    said = f"**{finding.sentence(scores)}** {finding.control(scores)}"
    lines = [_filled(said), "", f"| {PUBLISHED[runs[0].name].title} | ours | the paper |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in [*finding.compared(scores), *_with_clip(runs[0])]]
    short = f"**What falls short.** {shortfalls.sentence(scores)} [The table]({_place(runs[0])})."
    lines += ["", _filled(f"{finding.basis(scores)} {NOT_READ}"), "", _filled(short), ""]
    lines += ["Who was asked about which pictures:", "", *(_who(run) for run in runs)]
    return "\n".join(lines) + "\n"


def _with_clip(run: Run) -> Iterator[tuple[str, str, str]]:
    """What the map adds where the teacher reads the features of CLIP, as a row of `finding.compared`."""
    lead = finding.headline(_beside(run, "clip").scores)
    if lead is not None:
        what = f"AligNet minus control, {lead['level']}, {finding.concepts(lead)}, teacher of CLIP's features"
        yield what, difference(lead, "over_control"), finding.UNREAD


def _beside(run: Run, ending: str) -> Run:
    """A run that is kept beside `run`. Args: ending: of its name."""
    name = f"{run.name}_{ending}"
    return Run(name, run.tables.parent.with_name(name) / "tables")


def _published(reference: Path) -> list[str]:
    return [name for name in PUBLISHED if (reference / name / "tables" / "seeds.csv").is_file()]


def _filled(text: str) -> str:
    """A paragraph in lines of a page's width; links and code stay whole."""
    return textwrap.fill(
        text, 120, break_long_words=False, break_on_hyphens=False, subsequent_indent="  " * text.startswith("- ")
    )


def _falls_short(run: Run) -> Iterator[str]:
    """The table of what falls short, below its sentence."""
    cells = shortfalls.table(run.scores)
    said = f"{shortfalls.sentence(run.scores)} {finding.basis(run.scores)}"
    yield from ("", f"### What falls short: {PUBLISHED[run.name].title}", "", _filled(said))
    if cells:
        yield from ("", f"| {' | '.join(shortfalls.COLUMNS)} |", "|---" * len(shortfalls.COLUMNS) + "|")
        yield from (f"| {' | '.join(row)} |" for row in cells)


def _place(run: Run) -> str:
    """The address of that table."""
    return f"docs/results.md#what-falls-short-{PUBLISHED[run.name].title.lower()}"


def _who(run: Run) -> str:
    """A line about a world: what models see, what people were asked about, how many of their choices are scored."""
    judged = run.choices.iloc[0]["judged"]
    counts = []
    for row in _scored(run).to_dict("records"):
        people = f" of {row['n_people']:,.0f} people" if row["study"] else ""
        about = f"about {row['regime']} concepts"
        if row["study"]:
            about = f"about {row['n']:,.0f} triplets in the study of {row['study']}"
        without = f" ({row['without']:,.0f} without a level)" if row["without"] else ""
        counts.append(f"{row['n_choices']:,.0f}{people} {about}{without}")
    world = PUBLISHED[run.name]
    asked = f"people judged {judged if isinstance(judged, str) else 'the same pictures'}"
    return _filled(f"- {world.title}: models see {world.pictures}; {asked}. Held-out choices: {', '.join(counts)}.")


def _scored(run: Run) -> pd.DataFrame:
    """A row for each group of concepts and for each study that is scored, of all levels together.

    without: the number of its choices that have no level, since two or three of the pictures belong to no class.
    """
    rows = run.choices
    rows = rows[rows["target"] == "base"].drop_duplicates(["study", "regime", "level"])
    at_levels = rows[rows["level"] != "all"].groupby(["study", "regime"])["n_choices"].sum()
    rows = rows[(rows["level"] == "all") & ((rows["study"] != "") == (rows["regime"] == "all"))]
    keys = pd.MultiIndex.from_frame(rows[["study", "regime"]])
    without = rows["n_choices"].to_numpy() - at_levels.reindex(keys, fill_value=0).to_numpy()
    return _in_order(rows.assign(without=without))


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by regime, in the order of `REGIMES`."""
    return rows.sort_values("regime", key=lambda names: names.map(REGIMES.index), kind="stable")


def _asked(run: Run) -> Iterator[str]:
    """The people who were asked, and the number of choices that are scored."""
    first = run.choices.iloc[0]
    judged = f", who were shown {first['judged']}" if isinstance(first["judged"], str) else ""
    yield f"Scored against {PARTICIPANTS[first['choices']]}{judged}; {int(first['n_seeds'])} training seeds."
    for row in _scored(run).to_dict("records"):
        study = f"the study of {row['study']}" if row["study"] else f"{row['regime']} concepts"
        unnamed = f" and of {int(row['n_unnamed']):,} whom no file names" if row["n_unnamed"] > 0 else ""
        without = f"; {row['without']:,.0f} of these choices have no level" if row["without"] else ""
        yield (
            f"- {study[0].upper()}{study[1:]}: {int(row['n_choices']):,} choices of {int(row['n_people']):,} people"
            f"{unnamed}, about {int(row['n']):,} triplets{without}."
        )


def _basis(rows: pd.DataFrame) -> str:
    """How many runs a table is of, for its heading."""
    seeds = int(rows["n_seeds"].max())
    return f"means of {seeds} training seeds" if seeds > 1 else "one run"


def _levels(run: Run) -> Iterator[str]:
    rows = run.choices
    rows = rows[rows["study"] == ""]
    yield from ("", f"### Accuracy by concepts and level ({_basis(rows)})", "")
    yield from _table(rows, REGIMES)
    yield from _floors(rows)


def _others(run: Run) -> Iterator[str]:
    """Tables of the runs that are kept beside `run`: on other new concepts, or with another teacher."""
    for ending, (title, what) in OTHERS.items():
        other = _beside(run, ending)
        if not (other.tables / "levels.csv").is_file():
            continue
        rows = other.choices[other.choices["study"] == ""]
        yield from ("", f"### {title} ({_basis(rows)})", "", _filled(what), "")
        yield from _table(rows, REGIMES)
        if (other.tables / "teacher.csv").is_file():
            yield from _teacher_on_people(other)


def _table(rows: pd.DataFrame, groups: Iterable[str]) -> Iterator[str]:
    """The models beside each other; with the teacher and the share of its gain that AligNet keeps where rows say."""
    more = [name for name, there in (("teacher", _with_teacher(rows)), ("gain kept", _with_kept(rows))) if there]
    names = ["concepts, level", "base", "control", "AligNet", *more, "over base", "over control", "noise ceiling"]
    yield "| " + " | ".join([*names, "triplets"]) + " |"
    yield "|---" * (len(names) + 1) + "|"
    yield from _rows(rows, groups, (*LEVELS, "all"))
    if said := finding.no_ceiling(rows):
        yield from ("", _filled(said))


def _with_teacher(rows: pd.DataFrame) -> bool:
    return bool((rows["target"] == results.TEACHER).any())


def _with_kept(rows: pd.DataFrame) -> bool:
    return "kept" in rows and bool(rows["kept"].notna().any())


def _rows(rows: pd.DataFrame, groups: Iterable[str], levels: Iterable[str]) -> Iterator[str]:
    teachers, of_students = rows[rows["target"] == results.TEACHER], rows[rows["target"].isin(results.TARGETS)]
    several = of_students["student"].nunique() > 1
    for student in dict.fromkeys(of_students["student"]):
        for regime in groups:
            for level in levels:
                some = of_students[(of_students["regime"] == regime) & (of_students["level"] == level)]
                of = some[some["student"] == student].set_index("target")
                if not {"base", "alignet"} <= set(of.index) or of.loc["alignet", "n"] < FEWEST:
                    continue
                aligned = of.loc["alignet"]
                cells = [f"{student}, " * several + f"{regime}, {level}"]
                cells += [number(of["mean"].get(target)) for target in results.TARGETS]
                there = teachers[(teachers["regime"] == regime) & (teachers["level"] == level)]["mean"]
                cells += [number(there.iloc[0] if len(there) else None)] * _with_teacher(rows)
                if _with_kept(rows):
                    cells.append(difference(aligned, "kept").lstrip("+"))
                cells += [difference(aligned, "over_base"), difference(aligned, "over_control")]
                of_some = f", {aligned['n_repeated']:,.0f} triplets" * bool(aligned["n_repeated"] != aligned["n"])
                ceiling = scored(aligned, "noise_ceiling")
                cells += [ceiling + of_some * bool(ceiling), f"{int(aligned['n']):,}"]
                yield "| " + " | ".join(cells) + " |"


def _study(run: Run) -> Iterator[str]:
    """Studies that stand apart: their ceilings have many answers."""
    rows = run.choices
    for study in regimes.studies(rows):
        of = rows[rows["study"] == study]
        whole = of[(of["regime"] == "all") & (of["level"] == "all")].iloc[0]
        everyone = whole["n_choices"] > 0.95 * whole["n_people"] * whole["n"]
        judged = ", each of whom judged every triplet" * bool(everyone)
        yield from ("", f"### {_people_of(study, rows)}{judged} ({_basis(of)})", "")
        yield from _table(of, ("all", *REGIMES[:-1]))


def _people_of(study: str, rows: pd.DataFrame) -> str:
    """The people whose choices a study has, in words."""
    count = rows.loc[rows["study"] == study, "n_people"].max()
    return f"People's choices: the study of {study}, {count:.0f} people"


def _teacher(run: Run) -> Iterator[str]:
    """The teacher before and after its fit, on people's choices of concepts that a fold did not see."""
    scores = run.table("teacher")
    chosen = scores[(scores["chosen"].astype(str) == "True") | (scores["map"] == "none")]
    columns = [ACCURACY, "kl", "ece", "participation_ratio"]
    held_out = chosen[chosen["split"].isin(["validation", "test"])]
    enough = held_out.groupby(["split", "level", "map"])["n_triplets"].transform("sum") >= results.FEW_TRIPLETS
    means = held_out[enough].groupby(["split", "level", "map"], sort=False)[columns].mean()
    yield from ("", "### The teacher, on concepts that its fold did not see (one run)", "")
    yield _filled(
        "By its own dot products; the columns *teacher* above are cosines like the students' and, where the table is, "
        "means over training seeds. ECE: expected calibration error."
    )
    yield ""
    yield "| choices | accuracy before | after | KL before | after | ECE after |"
    yield "|---" * 6 + "|"
    for split, level in dict.fromkeys((split, level) for split, level, _ in means.index):
        before, after = (means.loc[(split, level, kind)] for kind in ("none", "fitted"))
        what = "people's" if level == "judged" else f"sampled from VICE, {level}"
        cells = [f"{what} ({split})", *(number(each[ACCURACY]) for each in (before, after))]
        cells += [*(number(each["kl"]) for each in (before, after)), number(after["ece"])]
        yield "| " + " | ".join(cells) + " |"


def _teacher_on_people(run: Run) -> Iterator[str]:
    """The teacher on people's choices: about concepts that a fold did not see (cross-fitted), and those of levels.csv.
    By its own dot products, a triplet counting once."""
    scores = run.table("teacher")
    rows = scores[scores["split"].isin(["cross-fitted", *REGIMES]) & (scores["n_triplets"] >= FEWEST)]
    rows = rows.assign(metric=ACCURACY)
    rows = rows.assign(**{name: finding.bounded(rows, name) for name in ("ci_low", "ci_high")})
    if rows.empty:
        return
    if said := shortfalls.beside_ridge(run.tables):
        yield from ("", _filled(said))
    yield from ("", "| concepts, level | without a map | ridge | fitted | ECE of it | triplets |", "|---" * 6 + "|")
    for (split, level), some in rows.groupby(["split", "level"], sort=False):
        of = some.drop_duplicates("map", keep="last").set_index("map")
        fitted = of.loc["fitted"]
        cells = [f"{split}, {level}", number(of[ACCURACY].get("none"))]
        cells.append(scored(of.loc["ridge"], ACCURACY, "ci") if "ridge" in of.index else "")
        cells += [scored(fitted, ACCURACY, "ci"), number(fitted["ece"]), f"{int(fitted['n_triplets']):,}"]
        yield "| " + " | ".join(cells) + " |"


def _people(run: Run) -> Iterator[str]:
    """VICE on held-out choices, and beside the published embeddings."""
    scores = run.table("calibration")
    yield from ("", "### People's uncertainty: VICE on held-out choices (one run)", "")
    yield "| distribution | triplets | NLL, nats | accuracy | ECE | noise ceiling |"
    yield "|---" * 6 + "|"
    repeated = scores.loc[scores["triplets"] == "repeated", "n_triplets"].max()
    for row in scores.to_dict("records"):
        cells = [f"{row['distribution']}, {row['triplets']}", f"{int(row['n_triplets']):,}", number(row["nll"])]
        cells += [number(row["accuracy"]), number(row["ece"]), _ceiling_of(row, repeated)]
        yield "| " + " | ".join(cells) + " |"
    if (run.tables / "embeddings.csv").is_file():
        yield from _embeddings(run.table("embeddings"))


def _ceiling_of(row: dict[str, Any], repeated: float) -> str:
    """The noise ceiling of held-out choices, if enough triplets have one. Args: repeated: their number."""
    if not repeated >= results.FEW_TRIPLETS:
        return ""
    return f"{scored(pd.Series(row), 'noise_ceiling')}, {repeated:,.0f} triplets"


def _embeddings(table: pd.DataFrame) -> Iterator[str]:
    yield from ("", "| embedding | dimensions | metric | against | value | held out |", "|---" * 6 + "|")
    for row in table.to_dict("records"):
        cells = [str(row["embedding"]), f"{int(row['dimensions'])}", str(row["metric"]), str(row["against"])]
        value = scored(pd.Series(row), "value", "ci")
        yield "| " + " | ".join([*cells, value, str(row["held_out"])]) + " |"


def _unsure(run: Run) -> Iterator[str]:
    """Spearman of the models' uncertainty with people's, where people's choices repeat."""
    seeds = run.scores
    rows = seeds[seeds["benchmark"].str.startswith("uncertainty, ") & (seeds["level"] == "all")]
    few = rows[rows["mean"].notna() & (rows["n"] < results.FEW_TRIPLETS) & (rows["target"] == results.ALIGNED)]
    rows = rows[rows["mean"].notna() & (rows["n"] >= results.FEW_TRIPLETS)]
    if rows.empty:
        return
    whose = "; ".join(_people_of(study, seeds) for study in regimes.studies(rows))
    whose = f" {whose}" if whose else ""
    yield from ("", f"### Are models unsure where people are?{whose} ({_basis(rows)})", "")
    yield "Spearman within levels, mean of the levels. Noise ceiling: what the number of answers to a triplet allows."
    if len(few):
        groups = (f"{row['study']} {row['regime']} concepts ({row['n']:.0f})".lstrip() for _, row in few.iterrows())
        yield f"Left out, with fewer than {results.FEW_TRIPLETS} triplets: {', '.join(dict.fromkeys(groups))}."
    yield ""
    yield "| choices, against | base | control | AligNet | over base | over control | noise ceiling | triplets |"
    yield "|---" * 8 + "|"
    for (student, benchmark), some in rows.groupby(["student", "benchmark"], sort=False):
        of = some.set_index("target")
        if "alignet" in of.index:
            aligned = of.loc["alignet"]
            study = f"study of {aligned['study']}, " if aligned["study"] else ""
            kind = benchmark.rsplit(", ", 1)[1].replace("_", " ")
            cells = [f"{student}, {study}{aligned['regime']} concepts, {kind}"]
            cells += [number(of["mean"].get(target)) for target in results.TARGETS]
            cells += [difference(aligned, name) for name in ("over_base", "over_control")]
            yield "| " + " | ".join([*cells, scored(aligned, "noise_ceiling"), f"{aligned['n']:,.0f}"]) + " |"


def _downstream(run: Run) -> Iterator[str]:
    """The number of tasks on which AligNet leads, by the primary row of each, corrected for their number; and these
    rows.
    """
    seeds = run.table("seeds")
    if "task" not in seeds:
        return
    rows = seeds[tasks.is_primary(seeds)]
    aligned, every = rows[rows["target"] == "alignet"], seeds[seeds["task"].notna() & (seeds["target"] == "alignet")]
    if aligned.empty:
        return
    yield from ("", f"### Downstream ({_basis(aligned)})", "")
    for student, of in aligned.groupby("student", sort=False):
        said = []
        for other, name in (("over_base", "the base"), ("over_control", "the control")):
            above, below, tested = tasks.leads(of, other)
            said.append(f"above {name} in {above} and below in {below} of {tested}")
        secondary = len(every[every["student"] == student]) - len(of)
        yield _filled(
            f"{student}, {len(of)} tasks (a data set, or a column of the world's labels; one row of each was fixed "
            f"beforehand): AligNet is {'; '.join(said)} (p < .05 after Holm's correction for the number of tasks). "
            f"The other {secondary} rows of seeds.csv are of the same pictures and are not counted."
        )
    yield from ("", "| task, primary row | base | control | AligNet | over base | over control |", "|---" * 6 + "|")
    for (student, benchmark, metric), some in rows.groupby(["student", "benchmark", "metric"], sort=False):
        of = some.set_index("target")
        if "alignet" in of.index:
            cells = [f"{student}, {benchmark}, {metric.removeprefix('accuracy, ')}"]
            cells += [number(of["mean"].get(target)) for target in results.TARGETS]
            cells += [difference(of.loc["alignet"], name) for name in ("over_base", "over_control")]
            yield "| " + " | ".join(cells) + " |"


def _developed(run: Run) -> Iterator[str]:
    """The settings of the student that were tried on development concepts, where `make develop` has run."""
    if not (run.tables / "development.csv").is_file():
        return
    table = run.table("development")
    means = table[table["level"] == "mean"]
    fitted = means[means["target"] != "base"]
    folds, seeds = (int(fitted[name].max()) for name in ("n_folds", "n_seeds"))
    basis = f"{folds} {'fold' if folds == 1 else 'folds'}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
    yield from ("", f"### Settings tried on development concepts ({basis})", "")
    yield from ("| setting | AligNet | control | minutes of a fit |", "|---" * 4 + "|")
    for (factor, variant), of in fitted.groupby(["factor", "variant"], sort=False):
        by_target = of.set_index("target")
        cells = [number(row["accuracy"]) + " *" * bool(row["chosen"]) for _, row in by_target.loc[FITTED].iterrows()]
        name = variant if factor == variant else f"{factor}: {variant}"
        yield f"| {name} | {' | '.join(cells)} | {of['minutes'].mean():.1f} |"
    kinds = fitted["variant"] == "default", fitted["chosen"]
    default, best = (fitted[kind].set_index("target")["accuracy"] for kind in kinds)
    gains = [number(of["alignet"] - of["unalignet"]) for of in (default, best)]
    base = number(means.loc[means["target"] == "base", "accuracy"].iloc[0])
    yield ""
    yield _filled(
        "Mean accuracy over the levels, on choices sampled from VICE about a fifth of the judged concepts, which no "
        f"fit saw; the base has {base}. Star: what the rule chooses (docs/method.md, section 4). AligNet minus control "
        f"is {gains[0]} where both have the default, and {gains[1]} where each has what the rule chooses for it."
    )


def _ablations(run: Run) -> Iterator[str]:
    """One choice changed at a time, where `make ablate` has run: accuracy on new concepts minus the default's."""
    if not (run.tables / "ablations.csv").is_file():
        return
    rows = run.table("ablations")
    rows = rows[(rows["regime"] == "new") & (rows["level"] == "all") & (rows["factor"] != "default")]
    yield from ("", "### One choice changed at a time: accuracy on new concepts minus the default's (one run each)", "")
    yield "| choice | AligNet | control |"
    yield "|---|---|---|"
    for (factor, variant), of in rows.groupby(["factor", "variant"], sort=False):
        by_target = of.set_index("target")
        cells = [difference(by_target.loc[target], "over_default") for target in ("alignet", "unalignet")]
        yield f"| {factor}: {variant} | {' | '.join(cells)} |"
    yield ""
    yield "Brackets: 95 % intervals over triplets that share concepts; seeds vary too (`seeds_sd` in ablations.csv)."


def _headline(run: Run) -> Iterator[str]:
    """The paper's measures beside ours, where a run has them: the gain at the coarse level, and the noise ceiling at
    every level. Uncertainty has a table of its own."""
    scores = run.scores
    own = finding.aligned(scores, "levels", results.FEW_TRIPLETS)
    yield _filled(f"{_basis(own).capitalize()}.")
    yield from ("", "| measure | ours | the paper |", "|---" * 3 + "|")
    told = _in_order(own[(own["study"] != "") == (own["regime"] == "all")])
    for _, row in told[told["level"] == "coarse"].iterrows():
        about = f"{row['student']}, {finding.concepts(row, scores)}"
        yield f"| gain over the base, coarse, {about} | {percent(row)} | up to {finding.published_percent():g} % |"
    for _, row in told[told["above_ceiling_low"].notna()].iterrows():
        about = f"{row['level']}, {row['student']}, {finding.concepts(row, scores)}"
        ours = f"{difference(row, 'above_ceiling')}, {finding.passed(row)}; {row['n_repeated']:,.0f} triplets"
        yield f"| AligNet minus noise ceiling, {about} | {ours} | {finding.UNREAD} |"


def _floors(rows: pd.DataFrame) -> Iterator[str]:
    """What floors score, and how far AligNet is above the best of them; nothing of a run without floors."""
    of_floors = rows[(rows["target"] == results.FLOOR) & (rows["n"] >= FEWEST)]
    if of_floors.empty:
        return
    names = list(dict.fromkeys(of_floors["student"]))
    yield from ("", f"| floors: concepts, level | {' | '.join(names)} | AligNet over the best | clear |")
    yield "|---" * (len(names) + 3) + "|"
    for _, row in _in_order(rows[(rows["target"] == "alignet") & (rows["n"] >= FEWEST)]).iterrows():
        there = of_floors[(of_floors["regime"] == row["regime"]) & (of_floors["level"] == row["level"])]
        scores = there.set_index("student")["mean"]
        several = f"{row['student']}, " * (rows["student"][rows["target"] == "alignet"].nunique() > 1)
        cells = [f"{several}{row['regime']}, {row['level']}", *(number(scores.get(name)) for name in names)]
        clear = "yes" if row["over_floor_low"] > 0 else "no"
        yield f"| {' | '.join(cells)} | {difference(row, 'over_floor')} | {clear} |"


def times(root: Path) -> str:
    """README's block of times, from `TIMES`. Args: root: the project's."""
    table = pd.read_csv(root / TIMES)
    said = [f"{row['what']} {_minutes(row['seconds'], row['seconds_high'])}" for row in table.to_dict("records")]
    (where,) = table["where"].unique()
    return _filled(f"Measured on {where}: {', '.join(said)}.") + "\n"


def _minutes(seconds: float, high: float) -> str:
    low, most = (max(1, round(value / 60)) for value in (seconds, high))
    return f"{low} min" if low == most else f"{low} to {most} min"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m alignet.report.results_page", description=__doc__.split("\n\n")[0])
    parser.parse_args(arguments)
    root = config.home()
    (root / "docs" / "results.md").write_text(page(root / "reports" / "reference"), encoding="utf-8")
    (root / "README.md").write_text(
        with_blocks((root / "README.md").read_text(encoding="utf-8"), root), encoding="utf-8"
    )
    return 0


def with_blocks(readme: str, root: Path) -> str:
    """README.md with its blocks of results and of times made anew. Args: root: the project's."""
    blocks = {"results": headline(root / "reports" / "reference"), "times": times(root)}
    return MARK.sub(lambda found: found[1] + blocks[found[2]] + found[3], readme)


if __name__ == "__main__":
    sys.exit(main())
