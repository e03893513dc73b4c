import math

import inputs
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from alignet import config
from alignet.maths.choices import pair_similarities
from alignet.people import calibration, embeddings
from alignet.people.choice_distributions import ChoiceCounts, SingleChoices
from alignet.people.embeddings import Embedding
from alignet.people.vice import Posterior
from alignet.worlds.format.tables import World

NAMES = ["ant", "bee", "cat", "dog", "elk"]


def settings(**changes):
    return inputs.settings("human_uncertainty", **changes)


def matrix(seed=0, objects=5, dimensions=3):
    return torch.randn(objects, dimensions, generator=inputs.generator(seed))


def written(folder, values=None, names=NAMES, suffix=".npy"):
    values = matrix().numpy() if values is None else values
    file = folder / f"embedding{suffix}"
    np.save(file, values) if suffix == ".npy" else np.savetxt(file, values)
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in names))
    return {"name": "theirs", "file": str(file), "names": str(folder / "names.txt")}


def known(seed=0, names=NAMES, held_out=True):
    mu = matrix(seed, len(names))
    return Embedding(f"embedding {seed}", list(names), Posterior(mu, torch.zeros_like(mu)), held_out)


def judged(names=NAMES):
    """Each triplet of the objects once, and what one person chose."""
    triplets = torch.combinations(torch.arange(len(names)), 3)
    counts = ChoiceCounts.of(triplets, torch.arange(len(triplets)) % 3)
    return SingleChoices(list(names), triplets[:0], torch.empty(0, dtype=torch.int64), counts)


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_a_published_embedding_is_not_below_0_has_no_uncertainty_and_was_not_held_out(suffix, tmp_path):
    found = embeddings.read(written(tmp_path, suffix=suffix))
    assert found.names == NAMES
    torch.testing.assert_close(found.posterior.mu, matrix().relu())
    assert not found.posterior.sigma.any()
    assert not found.held_out
    triplets = torch.tensor([[0, 1, 2], [4, 2, 0]])
    expected = pair_similarities(matrix().relu()[triplets]).softmax(1)
    torch.testing.assert_close(found.choice_distribution(triplets, NAMES, settings()), expected)


def test_one_sample_is_enough_without_uncertainty(monkeypatch):
    drawn = []
    normal = torch.randn
    monkeypatch.setattr(torch, "randn", lambda *size, **options: drawn.append(size) or normal(*size, **options))
    mu = torch.ones(4, 2)
    Posterior(mu, torch.zeros_like(mu)).choice_distribution(torch.tensor([[0, 1, 2]]), 50, 0)
    assert len(drawn) == 1
    Posterior(mu, torch.ones_like(mu)).choice_distribution(torch.tensor([[0, 1, 2]]), 50, 0)
    assert len(drawn) == 51


WRONG = {
    "of other names": (matrix(objects=4).numpy(), NAMES, r"embedding\.npy: shape \(4, 3\) is not a row .* 5 names"),
    "no matrix": (np.ones(5, np.float32), NAMES, r"shape \(5,\)"),
    "with a hole": (np.full((5, 2), np.nan), NAMES, r"embedding\.npy: shape"),
    "pickled": (np.array([{}] * 5), NAMES, r"cannot be read as a matrix of numbers"),
    "a name twice": (matrix().numpy(), [*NAMES[:4], "ant"], r"names\.txt: a name stands twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_by_name(case, tmp_path):
    values, names, line = WRONG[case]
    with pytest.raises(ValueError, match=line):
        embeddings.read(written(tmp_path, values, names))


def test_a_published_embedding_is_skipped_with_a_line_where_it_is_not_on_disk(tmp_path, capsys):
    entry = written(tmp_path)
    gone = entry | {"name": "gone", "file": "data/external/none.npy"}
    assert [each.name for each in embeddings.published(settings(published=[gone, entry]))] == ["theirs"]
    assert capsys.readouterr().out == "gone: skipped, data/external/none.npy is not on disk\n"
    with pytest.raises(ValueError, match=r"names\.txt: no such file \(human_uncertainty: theirs\)"):
        embeddings.read(entry | {"names": str(tmp_path / "other" / "names.txt")})


def world(shown="abc", concepts=NAMES):
    images = pd.DataFrame({"image": list("abcde"), "concept": concepts, "split": "human"})
    row = dict(zip(("image_0", "image_1", "image_2"), shown, strict=True)) | {"odd": 0, "participant": "p"}
    return World("small", "human", None, ("concept",), images, pd.DataFrame([row]), None)


def test_the_source_of_the_targets_is_vice_or_the_judged_rows_of_the_published_embedding(tmp_path):
    entry, ours = written(tmp_path), known()
    assert embeddings.source(world(), ours, settings(embedding=entry)) is ours
    ours = known(names=["elk", "cat", "unicorn", "ant"])  # people judged a unicorn by name; nobody judged bee and dog
    found = embeddings.source(world("cea"), ours, settings(uncertainty="embedding", embedding=entry))
    assert found.names == ["elk", "cat", "ant"]
    torch.testing.assert_close(found.posterior.mu, matrix().relu()[[4, 2, 0]])
    assert not found.held_out


def test_objects_that_a_published_embedding_lacks_are_counted_and_named_in_one_line(tmp_path):
    entry = written(tmp_path, matrix(objects=4).numpy(), NAMES[:4])
    chosen = settings(uncertainty="embedding", embedding=entry)
    with pytest.raises(ValueError, match=r"embedding: theirs lacks 1 of the 3 concepts that people judged: elk$"):
        embeddings.source(world("ace"), known(), chosen)
    with pytest.raises(ValueError, match="needs human_uncertainty"):
        embeddings.source(world(), known(), settings(uncertainty="embedding"))
    with pytest.raises(ValueError, match="objects: concept"):
        embeddings.source(world(), known(), settings(uncertainty="embedding", embedding=entry, objects="picture"))


def test_an_entry_without_names_is_refused_by_the_params(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: params.yaml\nhuman_uncertainty: {published: [{name: x, file: y.npy}]}\n")
    with pytest.raises(config.ConfigError, match=r"human_uncertainty\.published\.0"):
        config.load("human_uncertainty", config.HumanUncertainty, str(path))


def test_an_embedding_comes_back_from_its_folder_with_names_of_more_words(tmp_path):
    named = known(names=["ant", "bee hive", "cat", "dog's", "elk"])
    named.save(tmp_path)
    again = Embedding.load(tmp_path)
    assert again.names == named.names
    assert torch.equal(again.posterior.mu, named.posterior.mu)


def test_embeddings_are_compared_by_the_rank_correlation_of_their_dot_products():
    one, other = known(0), known(1, NAMES[1:], held_out=False)
    table = calibration.comparison([one, other], judged(), settings()).set_index(["embedding", "metric"])
    pairs = torch.triu_indices(4, 4, 1)
    ours, theirs = (each[pairs[0], pairs[1]] for each in (one.similarity(NAMES[1:]), other.similarity(NAMES[1:])))
    row = table.loc[("embedding 0", "rsa")]
    assert row["value"] == pytest.approx(spearmanr(ours, theirs).statistic)
    assert (row["against"], row["objects"], row["n"]) == ("embedding 1", 4, 6)
    assert table["held_out"].to_dict()[("embedding 1", "nll")] == "no"
    assert table["held_out"].to_dict()[("embedding 0", "nll")] == "yes"
    assert table.loc[("embedding 1", "accuracy"), "n"] == 4  # of ten triplets those without the ant
    predicted = one.choice_distribution(judged().held_out.triplets, NAMES, settings())
    chosen = judged().held_out.counts.argmax(1, keepdim=True)
    assert table.loc[("embedding 0", "nll"), "value"] == pytest.approx(-float(predicted.gather(1, chosen).log().mean()))


def test_a_row_that_knows_nothing_scores_as_chance():
    nothing = Embedding("nothing", NAMES, Posterior(torch.zeros(5, 2), torch.zeros(5, 2)), True)
    table = calibration.comparison([nothing], judged(), settings()).set_index("metric")
    assert table.loc["nll", "value"] == pytest.approx(math.log(3))
    assert table.loc["accuracy", "value"] == pytest.approx(1 / 3)


def test_scores_of_a_source_that_was_fitted_to_all_choices_say_so():
    table = calibration.calibration([known(), known(1, held_out=False)], judged(), settings())
    assert table.groupby("distribution")["held_out"].first().to_dict() == {
        "vice": "yes",
        "uniform": "yes",
        "embedding": "no",
    }


def test_an_embedding_is_scored_on_the_triplets_whose_objects_it_has():
    theirs = known(1, NAMES[1:], held_out=False)
    table = calibration.calibration([known(), theirs], judged(), settings()).set_index("distribution")
    assert table["n_triplets"].to_dict() == {"vice": 10, "uniform": 10, "embedding": 4}
