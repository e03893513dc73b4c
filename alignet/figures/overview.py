"""Pictures of a world and how alike a backbone finds them. Tables in, Figures out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from alignet.figures import style


def contact_sheet(pictures: Tensor, titles: list[str]) -> Figure:
    """Rows of pictures, a title over each.

    Args: pictures: (rows, columns, 3, size, size) uint8; titles: (rows,).
    """
    rows, columns = pictures.shape[:2]
    size = (style.DOUBLE, rows * (style.DOUBLE / columns + style.TITLE))
    figure, axes = plt.subplots(rows, 1, figsize=size, squeeze=False, layout="constrained")
    for ax, row, title in zip(axes[:, 0], pictures, titles, strict=True):
        style.strip(ax, row)
        ax.set_title(title, loc="left", fontsize=6, pad=1.5)
    return figure


def similarity_matrix(similarity: Tensor, labels: pd.DataFrame) -> Figure:
    """Similarities between groups of pictures, lines between the values of the coarsest label.

    Args: similarity: (k, k) in [-1, 1]; labels: k rows, ordered, coarsest column first, finest last.
    """
    figure, ax = plt.subplots(figsize=(style.DOUBLE * 0.72, style.DOUBLE * 0.62), layout="constrained")
    image = ax.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_xticks([])
    ax.set_yticks(range(len(labels)), labels.iloc[:, -1], fontsize=5)
    coarsest = labels.iloc[:, 0]
    for place in np.flatnonzero(coarsest.to_numpy()[1:] != coarsest.to_numpy()[:-1]) + 0.5:
        ax.axhline(place, color="black", linewidth=0.5)
        ax.axvline(place, color="black", linewidth=0.5)
    middles = pd.Series(range(len(labels))).groupby(coarsest, sort=False).mean()
    ax.secondary_xaxis("top").set_xticks(middles.to_numpy(), middles.index, fontsize=6)
    figure.colorbar(image, ax=ax, shrink=0.6, label="Centred cosine similarity")
    return figure
