"""Models beside each other on every kind of benchmark. Tables in, Figures out."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alignet.figures import style
from alignet.worlds.format import regimes

WIDTH = 46  # characters of a benchmark's line
FEWEST = 10  # triplets or pairs of a benchmark that is drawn


def by_model(scores: pd.DataFrame) -> Figure:
    """Scores of models (columns) on benchmarks (rows).

    A cell's colour is the score's share of the way from chance to the noise ceiling or, without a ceiling, to 1. New
    concepts come first. Benchmarks of fewer than `results.FEW_TRIPLETS` triplets or pairs are left out, since the
    figure has no intervals.

    Args: scores: comparison.csv, with or without rows of the run's own students.
    """
    every = drawn(scores)
    few = style.few(every)
    rows = style.new_first(every[~few])
    if rows.empty:
        return style.only_text("No figure: nothing was scored")
    models, names = (list(dict.fromkeys(rows[column])) for column in ("label", "name"))
    size = (style.DOUBLE, 1.5 + 0.15 * len(names))
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    shares, values = (
        rows.pivot_table(index="name", columns="label", values=column, sort=False).reindex(names, columns=models)
        for column in ("share", "value")
    )
    image = ax.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values.to_numpy()):
        if not np.isnan(value):
            dark = not shares.iat[row, column] > 0.6
            text = f"{value:.2f}".replace("0.", ".")
            ax.text(column, row, text, ha="center", va="center", fontsize=style.SMALL, color="w" if dark else "k")
    ax.set_xticks(range(len(models)), models, rotation=30, ha="left", fontsize=style.SMALL)
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(names)), [_spoken(name) for name in names], fontsize=style.SMALL)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, shrink=0.5, aspect=25, label="Share of the way from chance to the ceiling, or to 1")
    note = ["Numbers: scores. Few-shot: nearest centroid, most shots", style.few_named(every[few])]
    style.legend(figure, scores["choices"], ". ".join(filter(None, note)), targets=(), judged=scores.get("judged", ""))
    return figure


def _spoken(name: str) -> str:
    """A row's name with its benchmark in words."""
    benchmark, colon, metric = name.rpartition(": ")
    return f"{style.spoken(benchmark)}{colon}{metric}"


def drawn(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that `by_model` draws.

    They are levels of known and of new concepts and of studies as a whole, held-out triplets, RSA, and for each
    downstream protocol the nearest centroid with the most shots.

    Returns: the rows with columns `name` (of the benchmark), `label` (of the model) and `share`, from 0 (chance) to 1
    (noise ceiling, or 1 where there is none).
    """
    found, shown = [], set(regimes.shown(scores))
    scores = scores[~(scores["n"] < FEWEST) | scores["metric"].str.startswith("accuracy,")]
    for benchmark, part in scores.groupby("benchmark", sort=False):
        study, regime, level = (regimes.text(part, name).iloc[0] for name in ("study", "regime", "level"))
        in_table_alone = (regime != regimes.EVERY) if study else (regime not in shown | {""} or level == "all")
        if str(benchmark).startswith("uncertainty") or in_table_alone:
            continue
        metrics = list(dict.fromkeys(part["metric"]))
        centroid = [metric for metric in metrics if "centroid" in metric]
        for metric in centroid[-1:] or metrics[:1]:
            rows = part[part["metric"] == metric]
            found.append(rows.assign(name=_name(str(benchmark), metric), label=rows.apply(label, axis=1)))
    if not found:
        return scores.iloc[:0].assign(name="", label="", share=0.0)
    rows = pd.concat(found, ignore_index=True)
    best = rows["noise_ceiling"].fillna(1).where(rows["metric"].isin(["odd_one_out_accuracy", "rsa_spearman"]), 1)
    chance = rows["chance"].fillna(0)
    return rows.assign(share=((rows["value"] - chance) / (best - chance)).clip(0, 1))


def _name(benchmark: str, metric: str) -> str:
    short = {"odd_one_out_accuracy": "accuracy", "rsa_spearman": "RSA"}.get(metric, "accuracy")
    _, _, rest = benchmark.partition(", ")
    named = rest if metric.startswith("accuracy,") and rest else benchmark  # the data set is the world
    text = f"{named}: {short}".replace("choice probabilities", "choices").replace("choices, levels", "choices")
    return textwrap.shorten(text, WIDTH, placeholder="…")


def label(row: pd.Series) -> str:
    """The name of a model in the figure, with its layer if that is not the last one."""
    layer = row["layer"]
    return row["model"] if pd.isna(layer) or layer == "pooled" else f"{row['model']}, {layer}"
