"""The finding of a run in one sentence, with the paper's number beside it.

README.md, docs/results.md and reports/index.html take their words from here. All is computed from the tables of a run:
over training seeds from seeds.csv where it has that file, else of its one seed from levels.csv and uncertainty.csv.
"""

from pathlib import Path

import pandas as pd

from alignet import results
from alignet.evaluation import influences, published
from alignet.worlds.format import regimes

ACCURACY = "odd_one_out_accuracy"
SPEARMAN = "spearman"
FEWEST = 10  # triplets of a row that a table shows, with its interval and their number
LOWEST = {ACCURACY: 0.0, SPEARMAN: -1.0}  # of each score; the highest is 1
CEILINGS = [f"{name}{end}" for name in ("noise_ceiling", "above_ceiling") for end in ("", "_low", "_high")]
OF_CEILING = ["n_repeated", "noise_ceiling_low", "noise_ceiling_high"]  # equal in all seeds; seeds.csv lacks them
INTERVALS = ("over_base", "over_control", "relative_improvement", "over_floor", "above_ceiling")
COLUMNS = ["student", "target", "benchmark", "study", "regime", "level", "metric", "mean", "ci_low", "ci_high", "floor"]
COLUMNS += [f"{name}{end}" for name in INTERVALS for end in ("", "_low", "_high")]
COLUMNS += ["noise_ceiling", *OF_CEILING, "n", "n_people", "n_seeds", "choices", "judged"]
WHERE = {
    "new": "concepts that nobody judged in the fit",
    "known": "new triplets of concepts that were judged in the fit",
    "mixed": "mixed concepts (triplets of known and of new ones)",
}
PEOPLE = {"simulated": "SIMULATED participants", "derived": "participants DERIVED from embeddings"}
UNREAD = "not read"  # in place of a number of the paper's that public text does not have


def of_run(tables: Path) -> pd.DataFrame:
    """The scores of a run, a row each, with `COLUMNS`, which seeds.csv describes; n_seeds is 1 for one run's tables.

    n_repeated is the number of triplets behind a noise ceiling. A ceiling of fewer than results.FEW_TRIPLETS is left
    out, and so is the difference to it. Intervals end where their score does: at 0 or -1, and at 1.

    seeds.csv is passed over where it is of another run (`outdated`). Without levels.csv there are no rows.

    Args: tables: the run's folder of tables.
    """
    rows = _one_run(tables)
    if (tables / "seeds.csv").is_file() and not outdated(tables):
        known = rows.drop_duplicates("benchmark").set_index("benchmark")
        rows = _completed(results.load(tables / "seeds.csv"))
        rows = rows.assign(**{name: rows[name].fillna(rows["benchmark"].map(known[name])) for name in OF_CEILING})
    unsure = rows["benchmark"].astype(str).str.startswith("uncertainty, ")
    rows = rows.assign(n_repeated=rows["n_repeated"].where(~unsure, rows["n"]))
    enough = rows["n_repeated"] >= results.FEW_TRIPLETS
    rows = rows.assign(**{name: rows[name].where(enough) for name in CEILINGS})
    return rows.assign(**{name: bounded(rows, name) for name in ("ci_low", "ci_high")})


def _one_run(tables: Path) -> pd.DataFrame:
    """The scores of one training seed: levels.csv and uncertainty.csv, as rows of seeds.csv."""
    if not (tables / "levels.csv").is_file():
        return _completed(pd.DataFrame(columns=COLUMNS))
    levels = _pooled(tables).rename(columns={ACCURACY: "mean", "n_triplets": "n"})
    parts = [levels.assign(benchmark="levels, " + _about(levels), metric=ACCURACY)]
    if (tables / "uncertainty.csv").is_file():
        unsure = results.load(tables / "uncertainty.csv").rename(columns={SPEARMAN: "mean"})
        about = "uncertainty, " + _about(unsure) + ", " + regimes.text(unsure, "against")
        parts.append(unsure.assign(benchmark=about, metric=SPEARMAN))
    return pd.concat([_completed(part) for part in parts], ignore_index=True).assign(n_seeds=1)


def bounded(rows: pd.DataFrame, name: str) -> pd.Series:
    """The ends of the intervals of accuracies and correlations, which linearised ones can pass for few triplets.

    Args: rows: with the column metric; name: the column of the ends.
    """
    lowest = rows["metric"].map(LOWEST).astype(float)
    return rows[name].astype(float).clip(lower=lowest, upper=1 + 0 * lowest)


def outdated(tables: Path) -> bool:
    """Whether seeds.csv is of an earlier run: its own seed, the first of replicates.csv, has other accuracies than
    levels.csv, or none of its rows."""
    files = [tables / f"{name}.csv" for name in ("seeds", "replicates", "levels")]
    if not all(file.is_file() for file in files):
        return False
    seeds = results.load(files[1])
    own = seeds[(seeds["seed"] == seeds["seed"].iloc[0]) & (seeds["metric"] == ACCURACY)]
    named = ["student", "target", "study", "regime", "level"]
    there, here = (
        table.assign(**{name: regimes.text(table, name) for name in named}).set_index(named)[value]
        for table, value in ((own[own["benchmark"].str.startswith("levels, ")], "value"), (_pooled(tables), ACCURACY))
    )
    both = here.index.intersection(there.index)
    return both.empty or not ((here[both] - there[both]).abs() < 1e-5).all()


def _pooled(tables: Path) -> pd.DataFrame:
    rows = results.load(tables / "levels.csv")
    return rows[(rows["representation"] == "pooled") & rows[ACCURACY].notna()]


def _about(table: pd.DataFrame) -> pd.Series:
    """What the choices of each row are about, as seeds.csv names it."""
    columns = [regimes.text(table, name) for name in ("study", "regime", "level")]
    return pd.Series([influences.about(*row) for row in zip(*columns, strict=True)], table.index, dtype=str)


def _completed(rows: pd.DataFrame) -> pd.DataFrame:
    """All of `COLUMNS`, and those that a table has besides; study and regime are text, '' where there is none."""
    rows = rows.reindex(columns=[*COLUMNS, *(name for name in rows if name not in COLUMNS)])
    return rows.assign(study=regimes.text(rows, "study"), regime=regimes.text(rows, "regime"))


def sentence(rows: pd.DataFrame) -> str:
    """What alignment gains at the coarse level, beside the paper's number; '' where no level is scored.

    It is about new concepts, or about known ones where there are no new, and about the most improved student, as the
    paper's number is. Args: rows: of `of_run`.
    """
    row = headline(rows)
    if row is None:
        return ""
    models = rows[rows["target"].isin(results.TAUGHT)]["student"].nunique()
    who = row["student"] if models == 1 else f"{row['student']}, the most improved of {models} students,"
    level = row["level"]
    after, before = number(row["mean"]), number(row["mean"] - row["over_base"])
    kind = str(row["choices"])
    return (
        f"On {WHERE[row['regime']]}, {who} chooses as {PEOPLE.get(kind, 'people')} do in {after} of {level} triplets "
        f"after alignment and in {before} before ({_seeds(row)}): {percent(row)} over its base"
        f"{_unclear(row, 'relative_improvement')}, beside up to {published_percent():g} % in the paper "
        f"(Levels{'' if level == 'coarse' else ', coarse'})."
    )


def control(rows: pd.DataFrame) -> str:
    """The control's score, in a sentence; '' where there is none. Args: rows: of `of_run`."""
    row = headline(rows)
    if row is None or pd.isna(row["over_control"]):
        return ""
    by_itself = row["over_base"] - row["over_control"]
    return (
        f"The control, the same student taught without the map that people's choices fitted, reaches "
        f"{number(row['mean'] - row['over_control'])}, {'+' if by_itself > 0 else ''}{number(by_itself)} against the "
        f"base; AligNet minus control is {difference(row, 'over_control')}"
        f"{_unclear(row, 'over_control')}."
    )


def basis(rows: pd.DataFrame) -> str:
    """What the intervals are over: training seeds and concepts, or the concepts of one run alone."""
    seeds = int(rows["n_seeds"].max()) if len(rows) else 0
    if seeds > 1:
        return f"{seeds} training seeds; brackets: 95 % intervals over seeds and over triplets that share concepts."
    return (
        "One run with one training seed; brackets: 95 % intervals over triplets that share concepts (`make replicate` "
        "adds training seeds)."
    )


def _seeds(row: pd.Series) -> str:
    """How many training seeds a row is the mean of, in words."""
    return f"means of {row['n_seeds']:.0f} training seeds" if row["n_seeds"] > 1 else "one training seed"


def headline(rows: pd.DataFrame) -> pd.Series | None:
    """The coarse row of new concepts, else of known or mixed ones, of the most improved student; that of all levels
    where no coarse one is told."""
    of_levels = aligned(rows, "levels", results.FEW_TRIPLETS)
    of_levels = regimes.main(of_levels[of_levels["relative_improvement"].notna()])
    for level in ("coarse", "all"):
        for regime in regimes.HEADLINE:
            some = of_levels[(of_levels["level"] == level) & (of_levels["regime"] == regime)]
            if len(some):
                return some.loc[some["relative_improvement"].idxmax()]
    return None


def aligned(rows: pd.DataFrame, kind: str, fewest: int = FEWEST) -> pd.DataFrame:
    """AligNet's rows about choices (levels) or uncertainty that have a value and enough triplets."""
    about = rows["benchmark"].astype(str).str.startswith(f"{kind}, ")
    return rows[about & (rows["target"] == results.ALIGNED) & rows["mean"].notna() & (rows["n"] >= fewest)]


def compared(rows: pd.DataFrame) -> list[tuple[str, str, str]]:
    """The paper's measures beside ours: (measure, ours, the paper's number); [] where no level is scored.

    Args: rows: of `of_run`.
    """
    lead = headline(rows)
    if lead is None:
        return []
    of_levels, unsure = (
        of[of["student"] == lead["student"]]
        for of in (aligned(rows, kind, results.FEW_TRIPLETS) for kind in ("levels", "uncertainty"))
    )
    coarse, found = of_levels[of_levels["level"] == lead["level"]], []
    for _, row in told(coarse).iterrows():
        what = f"gain over the base, {row['level']}, {concepts(row)}"
        found.append((what, percent(row), f"up to {published_percent():g} %" if row["level"] == "coarse" else UNREAD))
    if pd.notna(lead["over_control"]):
        found.append(
            (f"AligNet minus control, {lead['level']}, {concepts(lead)}", difference(lead, "over_control"), UNREAD)
        )
    people = _best_known(told(coarse[coarse["above_ceiling_low"].notna()]))
    if people is not None:
        what = f"AligNet minus noise ceiling, {people['level']}, {concepts(people, rows)}"
        ours = f"{difference(people, 'above_ceiling')}, {passed(people)}; {people['n_repeated']:,.0f} triplets"
        found.append((what, ours, UNREAD))
    sure = _best_known(told(unsure[unsure["level"] == "all"]))
    if sure is not None:
        what = f"Spearman with {_kind(sure)}, {concepts(sure)}"
        base = f"; base {number(sure['mean'] - sure['over_base'])}" if pd.notna(sure["over_base"]) else ""
        ours = f"{scored(sure, 'mean', 'ci')}{base}; noise ceiling {scored(sure, 'noise_ceiling')}"
        found.append((what, f"{ours}; {sure['n_repeated']:,.0f} triplets", UNREAD))
    return found


def no_ceiling(rows: pd.DataFrame) -> str:
    """A sentence that names the concepts without a noise ceiling and counts their triplets with one; '' without any.

    Args: rows: of `of_run`.
    """
    of_levels = rows[rows["benchmark"].astype(str).str.startswith("levels, ") & (rows["target"] == results.ALIGNED)]
    whole = of_levels[(of_levels["level"] == "all") & (of_levels["mean"].notna())]
    whole = told(whole[whole["student"] == whole["student"].iloc[0]]) if len(whole) else whole
    without = whole[whole["noise_ceiling"].isna()]
    if without.empty:
        return ""
    groups = [f"{concepts(row)} ({row['n_repeated']:.0f})" for _, row in without.dropna(subset="n_repeated").iterrows()]
    named = f": {', '.join(groups)}" if groups else ""
    return (
        f"No noise ceiling is told where fewer than {results.FEW_TRIPLETS} triplets were judged by several people"
        f"{named}."
    )


def _best_known(rows: pd.DataFrame) -> pd.Series | None:
    """The row with most answers a triplet: of a study that stands apart, where there is one."""
    return rows.sort_values("study", kind="stable").iloc[-1] if (rows["study"] != "").any() else _first(rows)


def _first(rows: pd.DataFrame) -> pd.Series | None:
    return rows.iloc[0] if len(rows) else None


def told(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of new concepts, of known and, where they say more, of mixed ones; then each study, all of its concepts."""
    groups = [("", regime) for regime in _regimes(rows)]
    groups += [(study, regimes.EVERY) for study in regimes.studies(rows)]
    parts = [rows[(rows["study"] == study) & (rows["regime"] == regime)] for study, regime in groups]
    return pd.concat(parts) if parts else rows.head(0)


def _regimes(rows: pd.DataFrame) -> list[str]:
    return sorted(regimes.shown(rows[["study", "regime", "n"]]), key=regimes.HEADLINE.index)


def concepts(row: pd.Series, rows: pd.DataFrame | None = None) -> str:
    """What a row is about: 'new concepts', or a study; with the number of its people where `rows` say it."""
    if not row["study"]:
        return f"{row['regime']} concepts"
    people = None if rows is None else rows.loc[rows["study"] == row["study"], "n_people"].max()
    return f"the study of {row['study']}{'' if people is None or pd.isna(people) else f', {people:.0f} people'}"


def _kind(row: pd.Series) -> str:
    """What uncertainty is compared with, of a benchmark that ends with it."""
    return str(row["benchmark"]).rsplit(", ", 1)[1].replace("_", " ")


def judges(rows: pd.DataFrame) -> str:
    """The people of the studies that are scored separately, as 'the study of 2025, 199 people'; '' without a study."""
    people = rows.groupby("study")["n_people"].max()
    return "; ".join(f"the study of {study}, {people[study]:.0f} people" for study in regimes.studies(rows))


def passed(row: pd.Series) -> str:
    """Whether a model is above the noise ceiling, by the interval of above_ceiling."""
    return "above" if row["above_ceiling_low"] > 0 else "below" if row["above_ceiling_high"] < 0 else "not told apart"


def _unclear(row: pd.Series, name: str) -> str:
    return ", not told apart from 0" if row[f"{name}_low"] <= 0 <= row[f"{name}_high"] else ""


def published_percent() -> float:
    """The paper's largest gain at the coarse level, in percent of the base."""
    rows = pd.read_csv(published.PUBLISHED).set_index("quantity")
    return float(rows.loc["relative improvement at the coarse level", "published"])


def number(value: object) -> str:
    """Three digits without the zero before the point; nothing for no value."""
    given = pd.to_numeric(value)
    if pd.isna(given):
        return ""
    text = f"{round(given, 3) + 0:.3f}"  # + 0: no minus before .000
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def scored(row: pd.Series, name: str, ends: str | None = None) -> str:
    """A score with its interval; nothing for no value. Args: ends: of the interval's columns, if not the score's."""
    low, high = (row[f"{ends or name}{end}"] for end in ("_low", "_high"))
    return number(row[name]) + ("" if pd.isna(low) else f" [{number(low)}, {number(high)}]")


def difference(row: pd.Series, name: str) -> str:
    """A difference with its sign and its interval; nothing for no value."""
    if pd.isna(row[name]):
        return ""
    ends = "" if pd.isna(row[f"{name}_low"]) else f" [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"
    return f"{'+' if round(row[name], 3) > 0 else ''}{number(row[name])}{ends}"


def percent(row: pd.Series) -> str:
    """The gain over the base in percent of it, with its interval."""
    value, low, high = (row[f"relative_improvement{end}"] for end in ("", "_low", "_high"))
    ends = "" if pd.isna(low) else f" [{low:+.0f}, {high:+.0f}]"
    return f"{value:+.0f} %{ends}"
