"""Pages of pictures and triplets, and similarities between groups of pictures. Tables in, Figures out."""

import math
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from alignet import results
from alignet.figures import style

COLOURS = {**style.COLOURS, "teacher": style.BLUE, "target": style.BLUE}  # of a triplet page's lines
CELLS = 1000  # in a row of a matrix; of more the means are drawn
ACROSS = 8  # names that stand beside each other above a matrix; more are turned


def contact_sheet(pictures: Tensor, titles: list[str]) -> Figure:
    """Rows of pictures, a title over each; a line of text where there are none.

    Args: pictures: (rows, columns, 3, size, size) uint8; titles: (rows,).
    """
    if not len(pictures):
        return style.only_text("No figure: there is nothing to show")
    rows, columns = pictures.shape[:2]
    size = (style.DOUBLE, rows * (style.DOUBLE / columns + style.TITLE))
    figure, axes = plt.subplots(rows, 1, figsize=size, squeeze=False, layout="constrained")
    for ax, row, title in zip(axes[:, 0], pictures, titles, strict=True):
        style.strip(ax, row)
        ax.set_title(title, loc="left", fontsize=style.SMALL, pad=1.5)
    return figure


def similarity_matrix(similarity: Tensor, labels: pd.DataFrame) -> Figure:
    """Similarities between groups of pictures, with lines between the values of the coarsest label.

    At the left are the names of the groups or, if these are more than style.NAMED, the values of the finest label with
    at most that many.

    Args: similarity: (k, k) in [-1, 1]; labels: k rows, ordered, coarsest column first, finest last.
    """
    figure, ax = plt.subplots(figsize=(style.DOUBLE * 0.72, style.DOUBLE * 0.62), layout="constrained")
    k, shown = len(labels), similarity
    if k > CELLS:  # means of cells: what is as fine as dots takes seconds to draw
        shown = F.adaptive_avg_pool2d(similarity[None, None].float(), CELLS)[0, 0]
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-1, vmax=1, extent=(-0.5, k - 0.5, k - 0.5, -0.5))
    ax.set_xticks([])
    places = [style.middles(labels[column]) for column in labels.columns[::-1]]
    named = next((places_of for places_of in places if len(places_of) <= style.NAMED), places[-1][:0])
    if len(labels) <= style.NAMED:
        ax.set_yticks(range(len(labels)), labels.iloc[:, -1], fontsize=style.SMALL)
    else:
        left = style.apart(named, len(labels) / style.NAMED)
        ax.set_yticks(left.to_numpy(), left.index, fontsize=style.SMALL)
    style.borders(ax, labels.iloc[:, 0], "black")
    if len(labels) <= style.NAMED or named is not places[-1]:
        top = style.apart(places[-1], len(labels) / style.NAMED) if len(places[-1]) <= style.NAMED else places[-1][:0]
        turned = 90 if len(top) > ACROSS else 0
        ax.secondary_xaxis("top").set_xticks(top.to_numpy(), top.index, fontsize=style.SMALL, rotation=turned)
    figure.colorbar(image, ax=ax, shrink=0.6, label="Centred cosine similarity")
    return figure


def triplet_page(pictures: Tensor, labels: dict[str, Tensor]) -> Figure:
    """Triplets in reading order; under each picture is the probability that it is the odd one out, a line for each
    label.

    Args: pictures: (n, 3, 3, size, size) uint8; labels: name (or target) -> (n, 3) probabilities; one that is larger
        than the two others is bold.
    """
    columns, size = 4, pictures.shape[-1]
    rows = math.ceil(len(pictures) / columns)
    height = style.DOUBLE / columns * (0.36 + 0.11 * len(labels))
    figure, axes = plt.subplots(rows, columns, figsize=(style.DOUBLE, rows * height + style.TITLE), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for number, (ax, triplet) in enumerate(zip(axes.flat, pictures, strict=False)):
        style.strip(ax, triplet)
        for line, (name, probabilities) in enumerate(labels.items()):
            y = size * (1.06 + 0.28 * line)
            for place, probability in enumerate(probabilities[number]):
                leads = bool((probabilities[number] < probability).sum() == 2)
                weight = "bold" if leads else "normal"
                look: dict[str, Any] = {"va": "top", "color": COLOURS.get(name, "0.1"), "weight": weight}
                ax.text((place + 0.5) * size, y, f"{probability:.2f}", ha="center", fontsize=style.SMALL, **look)
    top = 1 - style.TITLE / figure.get_figheight()
    figure.subplots_adjust(left=0, right=1, top=top, bottom=0.03, wspace=0.06, hspace=0.1)
    for line, name in enumerate(labels):
        colour = COLOURS.get(name, "0.1")
        figure.text(0.16 * line, 0.995, results.NAMES.get(name, name), va="top", fontsize=7, color=colour)
    return figure
