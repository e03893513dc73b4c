"""One choice changed at a time, beside the run as it is. Tables in, Figures out."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from alignet import results
from alignet.figures import style
from alignet.worlds.format.schema import LEVELS


def by_factor(scores: pd.DataFrame) -> Figure:
    """Accuracy of each variant minus that of the unchanged run, at each level, for AligNet and its control.

    Each variant has one training seed. Bars: 95 % intervals over triplets that share concepts. Band: twice the standard
    deviation of the run's own accuracy over its seeds, where it is known; a point inside it shows no difference.

    Args: scores: ablations.csv.
    """
    tried = scores[(scores["factor"] != "default") & (scores["target"] != "base")]
    present = [level for level in LEVELS if (tried["level"] == level).any()]
    if not present:
        return style.only_text("No figure: the world has no levels.csv")
    names = list(dict.fromkeys(tried["factor"] + ": " + tried["variant"]))
    size: dict[str, Any] = {"figsize": (style.DOUBLE, 0.9 + 0.19 * len(names)), "sharey": True, "squeeze": False}
    figure, (axes,) = plt.subplots(1, len(present), layout="constrained", **size)
    for ax, level in zip(axes, present, strict=True):
        panel = tried[tried["level"] == level]
        spread = panel.loc[panel["target"] == "alignet", "seeds_sd"].max()
        if spread == spread:
            ax.axvspan(-2 * spread, 2 * spread, color="0.9", zorder=0)
        for target in results.TARGETS[1:]:
            rows = panel[panel["target"] == target]
            shift = style.OFFSETS[target] - 0.12  # two marks around the middle of the row
            places = [names.index(name) + shift for name in rows["factor"] + ": " + rows["variant"]]
            ends = [rows["over_default"] - rows["over_default_low"], rows["over_default_high"] - rows["over_default"]]
            ax.errorbar(rows["over_default"], places, xerr=ends, linestyle="none", **style.look(target))
        style.vertical(ax, 0, "")
        ax.locator_params(axis="x", nbins=4)
        ax.set(title=level.capitalize(), xlabel="Accuracy minus default's", ylim=(len(names) - 0.5, -0.5))
    axes[0].set_yticks(range(len(names)), names)
    note = f"{tried['student'].iloc[0]}, one training seed each. Bars: 95 % intervals over triplets. "
    note += "Band: two SD of the default over its seeds"
    style.legend(figure, tried["choices"], note, targets=results.TARGETS[1:])
    return figure
