"""The figure of bench.csv: how many times as fast our way is as each other way."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from alignet.figures import style
from bench.measure import KINDS

LINE = 0.24  # inches for a row


def ratios(table: pd.DataFrame) -> Figure:
    """A row for each task and other way, grouped by kind: median ratio, whiskers from the least to the largest turn.

    Args: table: bench.csv.
    """
    groups = [(kind, table[table["kind"] == kind]) for kind in KINDS if (table["kind"] == kind).any()]
    heights = [len(rows) + 0.6 for _, rows in groups]
    size = (style.DOUBLE, 0.9 + LINE * (len(table) + 1.8 * len(groups)))
    style.use()
    made, axes = plt.subplots(len(groups), figsize=size, sharex=True, height_ratios=heights, layout="constrained")
    for ax, (kind, rows) in zip([axes] if len(groups) == 1 else axes, groups, strict=True):
        _panel(ax, rows.sort_values("ratio", ascending=False))
        ax.set_title(f"beside {KINDS[kind]}", loc="left")
    ax.set_xlabel("Time of the other way / time of ours (above 1: ours is faster)")
    note = f"median, and range over turns; {table['processor'].iloc[-1]}"
    made.legend([plt.Line2D([], [], **style.point("alignet"))], [note], loc="outside lower center")
    return made


def _panel(ax: plt.Axes, rows: pd.DataFrame) -> None:
    places = range(len(rows))
    errors = style.ends(rows["ratio"], rows["low"], rows["high"])
    ax.errorbar(rows["ratio"], places, xerr=errors, linestyle="none", **style.look("alignet"))
    ax.axvline(1, color="0.4", linestyle=":", linewidth=0.8, zorder=0)
    ax.set(xscale="log", ylim=(len(rows) - 0.4, -0.6))
    ax.xaxis.set_major_formatter("{x:g}")
    names = [f"{task}\n{other}" for task, other in zip(rows["task"], rows["other"], strict=True)]
    ax.set_yticks(places, names, fontsize=style.SMALL, linespacing=1.05)
    for place, row in zip(places, rows.itertuples(), strict=True):
        text = f"{_short(row.ratio)} [{_short(row.low)}, {_short(row.high)}]"
        ax.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=style.SMALL)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
