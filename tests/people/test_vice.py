import math

import inputs
import pytest
import torch
from inputs import generator, random_triplets

from alignet.maths import metrics
from alignet.maths.choices import pair_similarities
from alignet.people import vice


def settings(**changes):
    return inputs.settings("human_uncertainty", **changes)


def simulated(n, objects=40, dimensions=3, seed=0):
    """SIMULATED choices of a sparse non-negative embedding: triplets, odd, the true distribution."""
    drawn = generator(9)
    embedding = 2 * torch.rand(objects, dimensions, generator=drawn)
    embedding = embedding * (torch.rand(objects, dimensions, generator=drawn) < 0.4)
    triplets = random_triplets(torch.arange(objects), n, seed)
    truth = pair_similarities(embedding[triplets]).softmax(-1)
    return triplets, torch.multinomial(truth, 1, generator=generator(seed)).squeeze(1), truth


def test_a_dimension_keeps_objects_up_to_the_last_p_below_benjamini_and_hochbergs_line():
    p = torch.tensor([[0.01, 0.5], [0.03, 0.6], [0.035, 0.7], [0.9, 0.04]])  # lines at .0125, .025, .0375, .05
    posterior = vice.Posterior(-torch.special.ndtri(p), torch.ones_like(p))
    assert vice.kept_dimensions(posterior, 0.05, 2).tolist() == [0]  # .03 lies above its line, and counts with .035
    assert vice.kept_dimensions(posterior, 0.05, 3).tolist() == []
    assert vice.kept_dimensions(posterior, 0.05, 0).tolist() == [0]


def test_a_dimension_is_kept_if_more_than_k_objects_are_surely_positive():
    mu = torch.tensor([[3.0, 3, 1], [3, -3, 1], [3, -3, 1]])
    posterior = vice.Posterior(mu, torch.tensor([0.1, 0.1, 9.0]).expand(3, 3))
    assert vice.kept_dimensions(posterior, 0.05, 2).tolist() == [0]
    assert vice.kept_dimensions(posterior, 0.05, 0).tolist() == [0, 1]


def test_the_prior_is_the_mixture_of_two_gaussians():
    chosen, x = settings(spike=0.3, slab=1.2, spike_weight=0.6), torch.tensor([-1.0, 0.0, 0.2, 2.5])
    spike, slab = (torch.distributions.Normal(0.0, scale).log_prob(x).exp() for scale in (0.3, 1.2))
    expected = (0.6 * spike + 0.4 * slab).log() + math.log(2 * math.pi) / 2
    torch.testing.assert_close(vice.log_prior(x, chosen), expected)


def test_a_sure_posterior_gives_the_softmax_of_its_similarities():
    mu = torch.rand(6, 2, generator=generator())
    posterior = vice.Posterior(mu, torch.full_like(mu, 1e-9))
    triplets = random_triplets(torch.arange(6), 20)
    expected = pair_similarities(mu[triplets]).softmax(-1)
    torch.testing.assert_close(posterior.choice_distribution(triplets, 3, 0), expected)


def test_an_unsure_posterior_gives_flatter_choices():
    mu = 2 * torch.rand(6, 2, generator=generator())
    triplets = random_triplets(torch.arange(6), 20)
    sure, unsure = (
        vice.Posterior(mu, torch.full_like(mu, sigma)).choice_distribution(triplets, 400, 0) for sigma in (1e-6, 1.0)
    )
    torch.testing.assert_close(unsure.sum(1), torch.ones(20))
    assert metrics.entropy(unsure).mean() > metrics.entropy(sure).mean()


def test_equal_seeds_give_equal_fits_and_a_resumed_one_ends_as_an_uninterrupted_one(tmp_path):
    triplets, odd, _ = simulated(3000)
    whole, few = (
        settings(dimensions=6, batch_size=500, max_epochs=epochs, burn_in=9, stable_epochs=9) for epochs in (6, 2)
    )
    straight, curve = vice.fit(triplets, odd, 40, whole)
    vice.fit(triplets, odd, 40, few, tmp_path / "vice.safetensors")
    resumed, resumed_curve = vice.fit(triplets, odd, 40, whole, tmp_path / "vice.safetensors")
    assert torch.equal(straight.mu, resumed.mu)
    assert torch.equal(straight.sigma, resumed.sigma)
    assert curve.equals(resumed_curve)
    other, _ = vice.fit(triplets, odd, 40, settings(dimensions=6, batch_size=500, max_epochs=6, seed=1))
    assert not torch.equal(straight.mu, other.mu)


@pytest.mark.parametrize("change", [{"dimensions": 5}, {"lr": 0.05}, {"seed": 1}])
def test_a_checkpoint_of_other_settings_is_not_gone_on_from(tmp_path, capsys, change):
    triplets, odd, _ = simulated(500)
    path, plain = tmp_path / "vice.safetensors", {"dimensions": 6, "max_epochs": 1}
    vice.fit(triplets, odd, 40, settings(**plain), path)
    other = settings(**plain | change)
    found, curve = vice.fit(triplets, odd, 40, other, path)
    assert "a checkpoint of other choices or settings" in capsys.readouterr().out
    assert torch.equal(found.mu, vice.fit(triplets, odd, 40, other)[0].mu)
    assert len(curve) == 1


def test_many_triplets_are_scored_in_chunks_as_at_once(monkeypatch):
    mu = torch.rand(6, 2, generator=generator())
    posterior, triplets = vice.Posterior(mu, torch.full_like(mu, 0.5)), random_triplets(torch.arange(6), 50)
    whole = posterior.choice_distribution(triplets, 3, 0)
    monkeypatch.setattr(vice, "CHUNK", 7)
    torch.testing.assert_close(posterior.choice_distribution(triplets, 3, 0), whole)


def test_the_top_objects_of_a_dimension_have_its_largest_weights():
    posterior = vice.Posterior(torch.tensor([[0.1, 3.0], [2.0, 1.0], [1.0, 2.0]]), torch.ones(3, 2))
    assert vice.top_objects(posterior, 2).tolist() == [[1, 2], [0, 2]]


def test_an_object_out_of_range_is_refused():
    with pytest.raises(ValueError, match="object 7, there are 7"):
        vice.fit(torch.tensor([[0, 1, 7]]), torch.tensor([0]), 7, settings())


def test_a_fit_stops_once_its_dimensions_stand_still_after_the_burn_in():
    chosen = settings(burn_in=2, stable_epochs=2)
    curves = {
        name: [{"dimensions": d} for d in dims] for name, dims in (("still", [9, 5, 5, 5]), ("not", [9, 9, 5, 5]))
    }
    assert vice.converged(curves["still"], chosen)
    assert not vice.converged(curves["not"], chosen)
    assert not vice.converged(curves["still"][1:], chosen)


def test_a_fit_without_kept_dimensions_has_not_converged_and_is_refused_with_what_to_do():
    chosen = settings(burn_in=2, stable_epochs=2)
    assert not vice.converged([{"dimensions": 0}] * 9, chosen)
    nothing = vice.Posterior(torch.full((40, 3), -1.0), torch.ones(40, 3))
    with pytest.raises(ValueError, match=r"VICE kept no dimension.*max_epochs.*uncertainty to empirical"):
        nothing.pruned(chosen)
    assert nothing.pruned(settings(uncertainty="empirical")).mu.shape == (40, 0)


@pytest.mark.slow
def test_a_fit_comes_near_the_truth_of_choices_it_has_not_seen():
    triplets, odd, _ = simulated(20000)
    unseen, chosen, truth = simulated(4000, seed=1)
    fitted, _ = vice.fit(triplets, odd, 40, settings(dimensions=12, batch_size=512, max_epochs=40))
    found = fitted.choice_distribution(unseen, 50, 0)
    nll = [-q.gather(1, chosen[:, None]).log().mean().item() for q in (truth, found)]
    assert nll[1] < nll[0] + 0.03 < math.log(3)
    counts = torch.nn.functional.one_hot(chosen, 3)
    assert metrics.expected_calibration_error(found, counts) < 0.03
