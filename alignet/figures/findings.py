"""Findings of each stage's table in words, for the end of its notebook. Tables in, Markdown out."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from IPython.display import Markdown
from torch import Tensor

from alignet import results
from alignet.figures import style
from alignet.worlds.format import regimes
from alignet.worlds.format.schema import LEVELS

NOT_SCORED = "The world has no choices to score students on: nothing was scored."
ONE_RUN = "One training seed: `make replicate` says how much another would change."


def world(images: pd.DataFrame, ceilings: pd.DataFrame, hierarchy: tuple[str, ...], choices: str) -> Markdown:
    """The numbers of pictures and labels, and how far people agree. Args: as 01_world shows them."""
    labels = ", ".join(f"{images[label].nunique():,} values of {label}" for label in hierarchy)
    lines = [f"{len(images):,} pictures with {labels}."]
    for row in ceilings.to_dict("records"):
        agree = f"of {row['repeated']:,} that several people judged one agrees with most of the others on"
        agree = f"; {agree} {_n(row['noise_ceiling'])}" if row["repeated"] >= results.FEW_TRIPLETS else ""
        lines.append(f"{row['table']}: {row['choices']:,} choices about {row['triplets']:,} triplets{agree}.")
    return _list(lines, choices)


def features(similarity: Tensor, labels: pd.DataFrame) -> Markdown:
    """The difference in similarity within and between values of the coarsest label. Args: (k, k); labels, coarsest
    first.
    """
    coarsest = labels.iloc[:, 0].to_numpy()
    same = coarsest[:, None] == coarsest[None]
    off = ~np.eye(len(coarsest), dtype=bool)
    matrix = similarity.numpy()
    within, between = (float(matrix[part & off].mean()) if (part & off).any() else math.nan for part in (same, ~same))
    return _list(
        [
            f"Mean centred cosine similarity of two labels within one {labels.columns[0]} {_n(within)}, "
            f"between two {_n(between)}: before any alignment."
        ]
    )


def human_uncertainty(scores: pd.DataFrame) -> Markdown:
    """A statement on whether VICE predicts choices that it has not seen, and whether it is calibrated. Args:
    calibration.csv.
    """
    lines = []
    whose = scores["people"] if "people" in scores else pd.Series("all", index=scores.index)
    by = {(row["distribution"], row["triplets"]): row for row in scores[whose == "all"].to_dict("records")}
    for kind in ("repeated", "all"):
        if ("vice", kind) in by:
            vice, others = by["vice", kind], by.get(("empirical", kind))
            line = f"On {vice['n_triplets']:,.0f} held-out triplets VICE's NLL is {_n(vice['nll'])} nats"
            line += f", that of the other participants' shares {_n(others['nll'])}" if others else ""
            lines.append(f"{line}; knowing nothing gives {_n(math.log(3))}.")
            ceiling = vice["noise_ceiling"]
            lines.append(f"It chooses as people on {_n(vice['accuracy'])}; {_beside_ceiling(vice, ceiling)}.")
            lines.append(f"Its calibration error is {_n(vice['ece'])}.")
            break
    for row in scores[(whose == "new") & (scores["distribution"] == "vice")].head(1).to_dict("records"):
        people = f"Of people of whom it saw no choice, on {row['n_triplets']:,} triplets"
        lines.append(
            f"{people}: NLL {_n(row['nll'])}, accuracy {_n(row['accuracy'])}, calibration error {_n(row['ece'])}."
        )
    return _list(lines, scores["choices"].iloc[0])


def teacher(scores: pd.DataFrame) -> Markdown:
    """The gain of the map on concepts that it was not fitted to, and its cost. Args: teacher.csv, with `chosen`."""
    shown = scores[scores["chosen"] | scores["map"].isin(["none", "ridge"])]
    grouped = shown.groupby(["split", "level", "map"])
    mean = grouped[["odd_one_out_accuracy", "kl", "ece", "participation_ratio"]].mean()
    triplets = grouped["n_triplets"].sum()
    lines = []
    for level in (*LEVELS, "judged"):
        key = ("validation", level)
        if (*key, "none") in mean.index and (*key, "fitted") in mean.index:
            before, after = (mean.loc[(*key, kind), "odd_one_out_accuracy"] for kind in ("none", "fitted"))
            where = "triplets that people judged" if level == "judged" else f"sampled triplets, {level}"
            if triplets[*key, "fitted"] < results.FEW_TRIPLETS:
                lines.append(f"Held-out concepts, {where}: {triplets[*key, 'fitted']:g}, too few to say anything.")
                continue
            lines.append(f"Held-out concepts, {where}: {_n(before)} -> {_n(after)} ({after - before:+.3f}).")
    for split, where in (("cross-fitted", "concepts that a fold has not seen"), ("new", "new concepts of levels.csv")):
        one = shown[(shown["split"] == split) & (shown["level"] == "all")].set_index("map")
        if "fitted" in one.index and one.loc["fitted", "n_triplets"] >= results.FEW_TRIPLETS:
            said = [
                _n(one.loc[kind, "odd_one_out_accuracy"]) for kind in ("none", "ridge", "fitted") if kind in one.index
            ]
            interval = _interval(one.loc["fitted", "ci_low"], one.loc["fitted", "ci_high"])
            kinds = "as they are, ridge regression, fitted" if len(said) > 2 else "as they are, fitted"
            lines.append(f"People's own choices, {where}: {', '.join(said)} {interval} ({kinds}).")
    if ("test", "judged", "fitted") in mean.index:
        test = shown[(shown["split"] == "test") & (shown["map"] == "fitted")].iloc[0]
        before = mean.loc[("test", "judged", "none"), "odd_one_out_accuracy"]
        interval = f" {_interval(test['ci_low'], test['ci_high'])}" if pd.notna(test.get("ci_low")) else ""
        lines.append(f"Test concepts: {_n(before)} -> {_n(test['odd_one_out_accuracy'])}{interval}.")
    if ("train", "judged", "fitted") in mean.index:
        train = mean.loc[("train", "judged", "fitted"), "odd_one_out_accuracy"]
        lines.append(f"On the triplets that it was fitted to, people's and sampled ones, it reaches {_n(train)}.")
    cell = scores[scores["chosen"] & (scores["map"] == "fitted")].iloc[0]
    fitted = f"lambda {cell['lambda']:g}, local term {cell['local_weight']:g}, {cell['steps']:g} steps"
    lines.append(f"Chosen: {fitted if cell['steps'] else 'where the fit starts, without a step'}.")
    return _list(lines, scores["choices"].iloc[0])


def student(curve: pd.DataFrame) -> Markdown:
    """The student's agreement with its teacher on held-out triplets. Args: curve.csv of one student."""
    held = curve.dropna(subset="held_out_accuracy")
    if held.empty:
        return _list(["No triplets were held out."])
    first, last = held.iloc[0], held.iloc[-1]
    return _list(
        [
            f"{first['student']}, {results.NAMES[first['target']]}: agreement with the labels on held-out triplets "
            f"{_n(first['held_out_accuracy'])} -> {_n(last['held_out_accuracy'])} in {last['step']:g} steps, loss "
            f"{first['held_out_loss']:.3g} -> {last['held_out_loss']:.3g} nats. Chance is .333."
        ]
    )


def levels(scores: pd.DataFrame, unsure: pd.DataFrame) -> Markdown:
    """The levels at which AligNet is ahead of base and control, for known and new concepts. Args: levels.csv,
    uncertainty.csv.
    """
    shown = scores[(scores["representation"] == "pooled") & (scores["target"] == "alignet")]
    if not shown["n_triplets"].any():
        return _list([f"{NOT_SCORED} The teacher's score by cross-validation stands in 04_teacher."])
    told = _told(shown)
    lines = [
        f"{_about(row)}: {_n(row['odd_one_out_accuracy'])} {_interval(row['ci_low'], row['ci_high'])}; "
        f"{_against(row, 'base')}; {_against(row, 'control')}{_over_floor(row)}; "
        f"{row['n_triplets']:,.0f} triplets{_ceiling(row)}."
        for row in told.to_dict("records")
    ]
    if not all(_ceiling(row) for row in told.to_dict("records")):
        lines.append(
            f"No noise ceiling is told where fewer than {results.FEW_TRIPLETS} triplets were judged by several people."
        )
    aligned = unsure[(unsure["target"] == "alignet") & (unsure["level"] == "all") & unsure["ci_low"].notna()]
    aligned = aligned[aligned["n"] >= results.FEW_TRIPLETS]
    for row in _new_first(aligned[aligned.index.isin(_wanted(aligned).index)]).to_dict("records"):
        kind = str(row["against"]).replace("_", " ")
        lines.append(
            f"{_about(row | {'level': ''})}, uncertainty within levels against people's {kind}: Spearman "
            f"{_n(row['spearman'])} {_interval(max(row['ci_low'], -1.0), min(row['ci_high'], 1.0))}, noise ceiling "
            f"{_n(row['noise_ceiling'])} {_interval(row['noise_ceiling_low'], row['noise_ceiling_high'])}; "
            f"{row['n']:,.0f} triplets."
        )
    return _list([*lines, ONE_RUN], scores["choices"].iloc[0], scores)


def _wanted(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of no study in the regimes that figures draw, and the rows of studies as a whole."""
    if "regime" not in scores:
        return scores
    main = regimes.main(scores)
    of_studies = scores[~scores.index.isin(main.index) & (scores["regime"] == regimes.EVERY)]
    return pd.concat([main[main["regime"].isin(regimes.shown(main))], of_studies])


def _new_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows student by student: new concepts, then known ones, mixed ones and studies."""
    place, _ = pd.factorize(rows["student"])
    return rows.assign(place=place, rank=style.regime_ranks(rows)).sort_values(["place", "rank"], kind="stable")


def _told(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of levels.csv that are put into words: levels of known and new concepts, and all levels of a study."""
    rows = _new_first(_wanted(scores))
    studied = regimes.text(rows, "study") != ""
    return rows[np.where(studied, rows["level"] == "all", rows["level"].isin(LEVELS))]


def _about(row: dict) -> str:
    """A row's student, regime and level in words: 'lite0, new concepts, coarse'."""
    study, regime = (row.get(name) if isinstance(row.get(name), str) else "" for name in ("study", "regime"))
    study = f"study {study}" if study else ""
    concepts = "" if study else regimes.CONCEPTS.get(str(regime), "").lower()
    level = "" if study else row["level"]
    return ", ".join(part for part in (row["student"], study, concepts, level) if part)


def _ceiling(row: dict) -> str:
    """The noise ceiling in words, with its interval and triplets; '' of fewer than `results.FEW_TRIPLETS`."""
    if pd.isna(row["noise_ceiling"]) or not row["n_repeated"] >= results.FEW_TRIPLETS:
        return ""
    ends = _interval(row["noise_ceiling_low"], row["noise_ceiling_high"])
    passed = ", passed" if row["passes_ceiling"] else ""
    return f"; noise ceiling {_n(row['noise_ceiling'])} {ends} of {row['n_repeated']:,.0f} triplets{passed}"


def similarity(scores: pd.DataFrame) -> Markdown:
    """The scores on each benchmark of base, control and AligNet. Args: similarity.csv."""
    shown = scores[scores["ci_low"].notna() & scores["metric"].isin(["odd_one_out_accuracy", "rsa_spearman"])]
    shown = shown[regimes.text(shown, "regime").isin(["", regimes.EVERY, *regimes.shown(shown)])]
    lines = []
    for (student, benchmark, metric), rows in style.new_first(shown).groupby(
        ["student", "benchmark", "metric"], sort=False
    ):
        values = rows.drop_duplicates("target").set_index("target")["value"]
        kept = [_n(values[target]) for target in results.TARGETS if target in values]
        name = "accuracy" if metric == "odd_one_out_accuracy" else "RSA"
        ceiling = rows["noise_ceiling"].where(rows["noise_ceiling_low"].notna()).iloc[0]
        top = "" if pd.isna(ceiling) else f", noise ceiling {_n(ceiling)}"
        lines.append(f"{student}, {benchmark}, {name}: base, control, AligNet {' / '.join(kept)}{top}.")
    return _list([*lines, ONE_RUN], scores["choices"].dropna().iloc[0], scores)


def reorganisation(scores: pd.DataFrame) -> Markdown:
    """RSA to the hierarchy, and the relations that came closer or moved apart more than in the control. Args:
    reorganisation.csv.
    """
    pooled = scores[scores["layer"] == "pooled"]
    lines = []
    for student, rows in pooled.groupby("student", sort=False):
        rsa = rows.drop_duplicates("target").set_index("target")["rsa"]
        kept = [_n(rsa[target]) for target in results.TARGETS if target in rsa]
        lines.append(f"{student}: RSA to the hierarchy, base, control, AligNet {' / '.join(kept)}.")
        wide = rows.pivot_table(index="relation", columns="target", values="change", sort=False)
        if {"alignet", "unalignet"} <= set(wide):
            parts = [f"{name} {row['alignet']:+.2f} ({row['unalignet']:+.2f})" for name, row in wide.iterrows()]
            lines.append(f"{student}: change of distance in SD of the base, AligNet (control): {', '.join(parts)}.")
    return _list([*lines, ONE_RUN], scores["choices"].iloc[0])


def downstream(scores: pd.DataFrame) -> Markdown:
    """The numbers of tasks on which AligNet is above, below or not distinguishable from base and control.

    Each task counts by its primary row, and p values are corrected for the number of tasks. Args: downstream.csv.
    """
    lines, tested = [], 0
    for student, rows in scores[scores["target"] == "alignet"].groupby("student", sort=False):
        for other, difference in (("base", "over_base"), ("control", "over_control")):
            above, below, tested = _leads(rows, difference)
            if tested:
                rest = tested - above - below
                count = f"of {tested} tasks {above} above, {below} below, {rest} not told apart"
                lines.append(f"{student} against its {other}: {count} (p < .05, Holm's correction for {tested} tasks).")
    if tested:
        lines.append(
            "A task is a data set, or a column of the world's labels. One row of each is counted, whatever its score: "
            "few-shot, nearest centroid, the middle number of shots. All other rows are of the same pictures."
        )
    skipped = scores.loc[scores["accuracy"].isna(), "dataset"].nunique()
    if skipped:
        lines.append(f"{skipped} public data sets are not on this disk and were skipped.")
    lines.append("Intervals are over episodes, which say nothing of other test pictures or training seeds.")
    return _list(lines, scores["choices"].dropna().iloc[0])


def cost(costs: pd.DataFrame) -> Markdown:
    """Alignment's share of pre-training, and the cost of the work before it. Args: cost.csv."""
    aligned = costs[costs["stage"] == "alignment"]
    lines = [
        f"{row.student}: alignment takes {row.ratio_to_pretraining:.2g} of the operations of its pre-training."
        for row in aligned.dropna(subset="ratio_to_pretraining").itertuples()
    ]
    once = costs[~costs["stage"].isin(["alignment", "pretraining"])]
    own = aligned.loc[aligned["basis"] == "this run", "flops"]
    if len(once) and len(own):
        parts = ", ".join(f"{row.stage} {row.flops:.2g}" for row in once.itertuples())
        times = once["flops"].sum() / own.mean()
        lines.append(f"Once for all students: {parts}; together {times:.2g} times a student's alignment to one target.")
    return _list(lines)


def _leads(rows: pd.DataFrame, difference: str) -> tuple[int, int, int]:
    """The numbers of tasks on which a model is above, is below, and was tested. Args: difference: has its Holm p."""
    if f"{difference}_holm" not in rows:
        return 0, 0, 0
    tested = rows.dropna(subset=f"{difference}_holm")
    clear = tested.loc[tested[f"{difference}_holm"] < 0.05, difference]
    return int((clear > 0).sum()), int((clear < 0).sum()), len(tested)


def _against(row: dict, other: str) -> str:
    """AligNet minus base or control, in words that depend on the interval."""
    value, low, high = (row.get(f"over_{other}{end}", math.nan) for end in ("", "_low", "_high"))
    if pd.isna(value):
        return f"no {other}"
    word = "above" if low > 0 else "below" if high < 0 else "not told apart from"
    return f"{word} the {other} ({value:+.3f} {_interval(low, high)})"


def _over_floor(row: dict) -> str:
    """AligNet minus the best floor, in words that depend on the interval; '' without floors."""
    value, low, high = (row.get(f"over_floor{end}", math.nan) for end in ("", "_low", "_high"))
    if pd.isna(value):
        return ""
    if not low > 0:
        word = "below" if high < 0 else "NOT clearly above"
        return f"; {word} the best floor, {row['floor']} ({value:+.3f} {_interval(low, high)})"
    return f"; above the best floor, {row['floor']} ({value:+.3f})"


def _beside_ceiling(row: dict, ceiling: float) -> str:
    if pd.isna(ceiling):
        return "no triplet was judged twice, so there is no noise ceiling"
    return f"the noise ceiling is {_n(ceiling)}"


def _interval(low: float, high: float) -> str:
    return f"[{_n(low)}, {_n(high)}]"


def _n(value: float) -> str:
    """A number as .123, without the 0 before the point."""
    return "none" if pd.isna(value) else f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def _list(lines: Iterable[str], choices: str | None = None, table: pd.DataFrame | None = None) -> Markdown:
    """Findings as a list in Markdown.

    Args: table: of results, whose column judged says what people were shown if not the world's pictures.
    """
    judged = "" if table is None else table.get("judged", "")
    who = "" if choices is None else style.people(choices, judged)
    said = "" if who in ("", style.people("human")) else f" (choices: {who})"
    return Markdown(f"**What this run found**{said}\n\n" + "\n".join(f"- {line}" for line in lines))
