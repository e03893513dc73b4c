"""What is drawn, shown and held in memory is bounded, whatever the number of concepts of a world."""

import shlex
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import runs
import torch
from inputs import generator
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alignet import results
from alignet.explore import widgets
from alignet.figures import overview, reorganisation, similarity, style
from alignet.models import features
from bench import many_concepts

CONCEPTS, PICTURES, CHOICES = 3000, 6000, 9000
LIMIT = 4 << 20  # kB of a process's own writable memory


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder in which every stage has run on a world of 3,000 concepts, in one process of 4 GB at most."""
    place, folder = tmp_path_factory.mktemp("world") / "many", tmp_path_factory.mktemp("run")
    many_concepts.world(place, CONCEPTS, PICTURES, CHOICES)
    smoke = runs.smoke_params()
    full = {name: smoke[name] for name in many_concepts.FULL}
    full["reorganisation"] = smoke["reorganisation"] | {"pictures_per_concept": 1}
    runs.copy_of_the_repository(folder, many_concepts.params(smoke, full, place))
    limited = f"ulimit -d {LIMIT} && exec {shlex.quote(sys.executable)} {shlex.quote(runs.__file__)}"
    runs.run(folder, "bash", "-c", limited)
    return folder


@pytest.fixture
def house_style():
    with plt.rc_context():
        style.use()
        yield
    plt.close("all")


def many_labels(concepts: int = 2819, categories: int = 27) -> pd.DataFrame:
    """Labels in the order of the hierarchy, coarsest first."""
    category = np.sort(np.arange(concepts) % categories)
    labels = pd.DataFrame({"domain": [f"domain {number // 6}" for number in category]})
    labels = labels.assign(category=[f"category {number:02d}" for number in category])
    return labels.assign(concept=[f"concept {number}" for number in range(concepts)])


def overlaps(texts) -> int:
    """How many of the texts that are drawn, in their order, lie over the one before."""
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return sum(one.overlaps(other) for one, other in pairwise(boxes))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's writable memory")
def test_every_stage_runs_on_three_thousand_concepts_in_four_gigabytes(run):
    found = pd.read_csv(run / "reports" / "tables" / "reorganisation.csv")
    assert found["n_pairs"].max() > 100_000
    assert (run / "reports" / "index.html").stat().st_size < 20e6
    figures = [path.stat().st_size for path in (run / "reports" / "figures").iterdir()]
    assert max(figures) < 10e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's writable memory")
def test_the_explorer_of_three_thousand_concepts_has_few_widgets(run):
    explorer = widgets.Explorer(str(run / "params.yaml"), str(run))
    assert len(explorer.scene.images) > 1500
    explorer.tree.enter("domain", "domain 0")
    explorer.tree.enter("category", "category 00")
    made = [explorer]
    for each in made:
        made.extend(getattr(each, "children", ()))
    assert len(made) < 100
    assert max(len(getattr(each, "options", ())) for each in made) <= widgets.OPTIONS
    assert len(explorer.tree.shown.value) < 1e6


class Made(TorchDispatchMode):
    """Counts the numbers in all tensors that operations give."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.numbers += sum(each.numel() for each in tree_leaves(made) if isinstance(each, torch.Tensor))
        return made


def test_similarities_of_many_labels_take_a_few_copies_of_the_features_and_no_more():
    images = pd.DataFrame({"concept": [f"concept {number % 300}" for number in range(600)]})
    matrix = torch.randn(600, 64, generator=generator())
    matrix[5] = torch.nan
    with Made() as made:
        similarity_of, names = features.label_similarity(matrix, SimpleNamespace(images=images), ("concept",))
    assert made.numbers < 10 * matrix.numel() + 10 * similarity_of.numel()
    numbers = [int(name.removeprefix("concept ")) for name in names["concept"]]
    means = torch.stack([torch.stack([matrix[n], matrix[n + 300]]).nanmean(0) for n in numbers])
    unit = torch.nn.functional.normalize(means - means.mean(0), dim=1)
    torch.testing.assert_close(similarity_of, unit @ unit.T)


def test_of_very_many_labels_evenly_spread_ones_are_compared(monkeypatch):
    monkeypatch.setattr(features, "MOST_LABELS", 4)
    images = pd.DataFrame({"concept": [f"concept {number:02d}" for number in range(10)]})
    found, names = features.label_similarity(torch.eye(10), SimpleNamespace(images=images), ("concept",))
    assert found.shape == (4, 4)
    assert names["concept"].tolist() == [f"concept {number:02d}" for number in (0, 3, 6, 9)]


@pytest.mark.usefixtures("house_style")
@pytest.mark.parametrize("columns", [["domain", "category", "concept"], ["category", "concept"], ["concept"]])
def test_names_beside_a_matrix_of_thousands_do_not_lie_over_each_other(columns):
    labels = many_labels()[columns]
    figure = overview.similarity_matrix(torch.eye(len(labels)), labels)
    figure.draw_without_rendering()
    left = figure.axes[0].get_yticklabels()
    assert len(left) == {3: 27, 2: 27, 1: 0}[len(columns)]
    above = [text for ax in figure.axes[0].child_axes for text in ax.get_xticklabels()]
    assert overlaps(left) == overlaps(above) == 0
    assert len(figure.axes[0].lines) <= 2 * style.NAMED


@pytest.mark.usefixtures("house_style")
@pytest.mark.parametrize("coarsest", ["category", "concept"])
def test_names_beside_distances_of_many_concepts_do_not_lie_over_each_other(coarsest):
    labels = many_labels(900)
    shown = labels[[column for column in ("concept", "category") if column != coarsest] + [coarsest]]
    figure = similarity.rdms({("vit", target): torch.rand(900, 900) for target in results.TARGETS}, shown)
    figure.draw_without_rendering()
    named = [ax.texts for ax in figure.axes if ax.texts]
    assert sum(map(len, named)) <= 27
    assert all(overlaps(texts) == 0 for texts in named)


@pytest.mark.usefixtures("house_style")
def test_a_map_of_many_labels_colours_the_most_common_ones_and_counts_the_others():
    labels = many_labels(900).assign(x=np.arange(900.0), y=np.arange(900) % 7, student="vit", choices="simulated")
    kinds = [labels.assign(target=target, method=method) for target in results.TARGETS for method in ("PCA", "UMAP")]
    figure = reorganisation.before_and_after(pd.concat(kinds), "concept", "vit")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(names) == reorganisation.COLOURED + 1
    assert names[-1] == f"{900 - reorganisation.COLOURED} others"
    assert max(len(ax.texts) for ax in figure.axes) <= reorganisation.COLOURED
