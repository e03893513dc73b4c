"""Numbers that the paper and its press text report (published.csv, with sources), beside those that a run measured."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from alignet.worlds.format import participants, regimes
from alignet.worlds.format.tables import TRIPLET, World

CLAIMED = ("few-shot", "linear probe", "unseen")
PUBLISHED = Path(__file__).with_name("published.csv")
COLUMNS = [
    "quantity",
    "model",
    "target",
    "level",
    "benchmark",
    "unit",
    "published",
    "published_high",
    "source",
    "ours",
    "ours_low",
    "ours_high",
    "ours_of",
    "choices",
]


def beside(world: World, tables: dict[str, pd.DataFrame], scratch: Collection[str] = ()) -> pd.DataFrame:
    """The table paper.csv: each published quantity with its source and, where the run has one, with ours.

    ours_of says what ours is about: another world, other students, other numbers of them. published_high is given where
    a range is reported. ours_low and ours_high are a 95 % interval, or a range where the published quantity is one.
    model, target, level and benchmark say what the published number is about. Published numbers are those that can be
    read in public text; the paper's own tables could not be read, and nothing is quoted from memory.

    Args: tables: levels, similarity and downstream, as the stages wrote them; scratch: students that were not
        pre-trained, which the published range of downstream improvements is not about.
    """
    published = pd.read_csv(PUBLISHED)
    measured = {**_people(world), **_coarse(tables["levels"]), **_downstream(tables["downstream"], scratch)}
    measured |= _ratings(tables["similarity"])
    unknown = set(measured) - set(published["quantity"])
    if unknown:
        raise KeyError(f"{PUBLISHED.name} has no quantity {', '.join(sorted(unknown))}")
    ours = [measured.get(quantity, {}) for quantity in published["quantity"]]
    rows = pd.concat([published, pd.DataFrame(ours, index=published.index)], axis=1)
    return rows.assign(choices=world.choices).reindex(columns=COLUMNS)


def _people(world: World) -> dict[str, dict]:
    """Counts of choices, of objects and of named people; answers without a recorded person count for nobody."""
    judged, where = world.triplets, f"world {world.name}, triplets.csv"
    judged_images = world.images["image"].isin(pd.unique(judged[TRIPLET].to_numpy().ravel()))
    counts = {
        "human choices behind the teacher": len(judged),
        "objects behind the teacher": world.images.loc[judged_images, world.hierarchy[0]].nunique(),
    }
    if world.choices not in ("derived", "none"):  # else nobody made them: names such as drawn_0 are no people's
        counts["participants behind the teacher"] = participants.known(judged["participant"])
    measured = {quantity: {"ours": count, "ours_of": where} for quantity, count in counts.items()}
    if world.levels is not None and "participants behind the teacher" in counts:
        people = participants.known(world.levels["participant"])
        measured["participants of Levels"] = {"ours": people, "ours_of": f"world {world.name}, levels.csv"}
    return measured


def _coarse(levels: pd.DataFrame) -> dict[str, dict]:
    """The largest relative improvement at the coarse level among the students, as in the paper.

    It is about new concepts or, where there are none, about known ones.
    """
    levels = regimes.headline(levels)
    improved = levels[(levels["level"] == "coarse") & (levels["target"] == "alignet")]
    improved = improved[improved["representation"] == "pooled"].dropna(subset=["relative_improvement"])
    if improved.empty:
        return {}
    best = improved.loc[improved["relative_improvement"].idxmax()]
    ends = {"ours_low": best["relative_improvement_low"], "ours_high": best["relative_improvement_high"]}
    row = {"ours": best["relative_improvement"], **ends, "ours_of": f"{best['student']}, the most improved student"}
    return {"relative improvement at the coarse level": row}


def _downstream(downstream: pd.DataFrame, scratch: Collection[str]) -> dict[str, dict]:
    """Median, smallest and largest relative improvement in the protocols that the published range is about.

    These are few-shot, linear probe and unseen subclasses of pre-trained students; shifts of style and corruptions are
    left out.
    """
    rows = downstream[downstream["target"] == "alignet"]
    about = rows["protocol"].str.startswith(CLAIMED) & ~rows["student"].isin(list(scratch))
    percents = rows.loc[about, "relative_improvement"].dropna()
    if percents.empty:
        return {}
    row = {"ours": percents.median(), "ours_low": percents.min(), "ours_high": percents.max()}
    row |= {"ours_of": f"median and range of {len(percents)} rows: few-shot, linear probe, unseen subclasses"}
    return {"relative improvement downstream": row}


def _ratings(similarity: pd.DataFrame) -> dict[str, dict]:
    """People's ratings of the disagreement pairs of the first student that has any."""
    names = {
        ("mean_rating_of_closer_pairs", "alignet"): "rating of pairs that AligNet holds closer",
        ("mean_rating_of_closer_pairs", "unalignet"): "rating of pairs that UnAligNet holds closer",
        ("spearman_distance_rating", "alignet"): "Spearman of AligNet's distance with the mean rating",
        ("spearman_distance_rating", "unalignet"): "Spearman of UnAligNet's distance with the mean rating",
    }
    measured = {}
    for (metric, target), quantity in names.items():
        rows = similarity[(similarity["metric"] == metric) & (similarity["target"] == target)].dropna(subset=["value"])
        if len(rows):
            first = rows.iloc[0]
            ends = {"ours": first["value"], "ours_low": first["ci_low"], "ours_high": first["ci_high"]}
            measured[quantity] = ends | {"ours_of": f"{first['student']}, {first['n']} {first['ci_unit']}"}
    return measured
