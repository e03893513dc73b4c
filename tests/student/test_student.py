import ast
import dataclasses
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import inputs
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, load_model

from alignet import config
from alignet.export import __main__ as export
from alignet.maths import losses
from alignet.models import activations, backbones, frozen
from alignet.student import batches, jobs, network, training
from alignet.synthesis import triplet_files
from alignet.worlds.format import pictures
from alignet.worlds.format.tables import World, WorldError

SMALL = {
    "scheme": "cluster_border",
    "head_width": 8,
    "similarity": "dot",
    "temperature": 10.0,
    "teacher_temperature": 1.0,
    "lr": 0.001,
    "steps": 4,
    "warmup_steps": 1,
    "decay_to_initial": 0.0,
    "batch_clusters": 3,
    "batch_pictures": 2,
    "frozen_batch_norm": True,
    "frozen_layers": [],
    "precision": "float32",
    "held_out_every": 2,
    "checkpoint_every": 2,
    "stop_above": 100.0,
    "stop_margin": 0.0,
    "stop_watches": 1,
}


def settings(**changes):
    return inputs.settings("students.vit", inputs.SMOKE, **(SMALL | changes))


def tiny(convolutional=False, dropout=0.0, **changes):
    model = "vit_tiny_patch16_224"
    options = {"img_size": 32, "depth": 1, "patch_size": 8, "proj_drop_rate": dropout, "drop_path_rate": dropout}
    if convolutional:
        model, options = "tf_efficientnet_lite0", {}
    backbone = config.Backbone(model=model, options=options, weights="random", layer="pooled", picture_size=32, seed=0)
    return network.create(backbone, settings(**changes))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model, before):
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy"))


def make_toy(folder):
    """Four clusters of eight pictures of one colour each, and a teacher that tells the clusters apart."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    clusters = torch.arange(4).repeat_interleave(8)
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])[clusters]
    noise = torch.randint(-40, 40, (32, 3, 32, 32), generator=generator)
    pictures = (colours[:, :, None, None] + noise).clamp(0, 255).to(torch.uint8)
    paths = [folder / f"{number}.png" for number in range(32)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    return paths, 2 * np.eye(4, dtype=np.float32)[clusters], clusters.numpy(), pictures


def feed_of(toy, chosen, cache_bytes=10**6, workers=0):
    paths, teacher, clusters, _ = toy
    return batches.Feed(batches.InBatch(teacher, clusters, chosen), paths, 32, workers, cache_bytes)


def held_out_of(toy):
    triplets = np.array([[0, 1, 8], [9, 10, 20], [20, 21, 31], [3, 30, 31]])
    similarities = np.stack([(toy[1][row] @ toy[1][row].T)[(1, 0, 0), (2, 2, 1)] for row in triplets])
    return batches.batch_of(triplets, similarities, np.arange(4))


def fit(model, toy, chosen, **more):
    return training.fit(model, feed_of(toy, chosen), held_out_of(toy), chosen, **more)


def test_the_rate_warms_up_to_its_peak_and_falls_to_zero_like_a_cosine():
    schedule = settings(lr=0.2, steps=14, warmup_steps=4)
    rates = [training.learning_rate(step, schedule) for step in range(15)]
    assert rates[:5] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2])
    assert rates[9] == pytest.approx(0.1)
    assert rates[13] == pytest.approx(0.1 * (1 + math.cos(0.9 * math.pi)), rel=1e-4)
    assert rates[14] == pytest.approx(0, abs=1e-8)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_a_rate_without_warm_up_starts_at_its_peak():
    assert training.learning_rate(0, settings(lr=0.2, warmup_steps=0)) == pytest.approx(0.2)


def test_decay_pulls_a_weight_towards_where_it_started():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    decay = training.DecayToInitial([weight], weight_decay=0.5)
    weight.data = torch.tensor([3.0, 2.0])
    decay.step(lr=0.1)  # 3 - 0.1 * 0.5 * (3 - 1)
    assert weight.tolist() == pytest.approx([2.9, 2.0])
    decay.step(lr=2.0)
    assert weight.tolist() == [1.0, 2.0]


def test_strong_decay_keeps_a_student_nearer_to_its_start(toy):
    moved = []
    for weight_decay in (0.0, 900.0):
        model = tiny()
        before = state(model)
        fit(model, toy, settings(decay_to_initial=weight_decay))
        moved.append(sum((tensor - before[name]).norm() for name, tensor in model.state_dict().items()))
    assert moved[1] < 0.5 * moved[0]


def test_the_head_is_a_linear_map_of_the_pooled_features(toy):
    model = tiny().eval()
    pooled, head = model(toy[3][:3])
    assert (pooled.shape, head.shape) == ((3, 192), (3, 8))
    torch.testing.assert_close(head, pooled @ model.triplet_head.weight.T + model.triplet_head.bias)


def test_without_a_head_the_loss_reads_the_pooled_features(toy):
    model = tiny(head_width=None).eval()
    pooled, head = model(toy[3][:3])
    assert torch.equal(pooled, head)
    assert not any(name.startswith("triplet_head") for name in model.state_dict())
    before = state(model)
    curve = fit(model, toy, settings(head_width=None, similarity="cosine", temperature=0.1, keep_neighbours=0.1))
    assert changed(model, before)
    assert curve["loss"].dropna().between(0, 10).all()


def drawn_batch(**kept):
    generator = torch.Generator().manual_seed(0)
    head, taught = (torch.randn(6, 4, generator=generator) for _ in range(2))
    pairs = taught @ taught.T
    triplets = batches.in_batch_triplets(3, 2, "random")
    labels = training.gather_pair_similarities(pairs, triplets)
    return head, batches.Batch(torch.arange(6), triplets, labels, **({"pairs": pairs} | kept))


def test_each_kind_of_triplets_has_an_equal_share_of_the_loss():
    head, batch = drawn_batch(kinds=(5, 15))
    chosen = settings(loss="kl", temperature=1.0)
    parts = [
        training.divergence(head, batches.Batch(batch.rows, batch.triplets[rows], batch.similarities[rows]), chosen)[0]
        for rows in (slice(0, 5), slice(5, 20))
    ]
    torch.testing.assert_close(training.divergence(head, batch, chosen)[0], (parts[0] + parts[1]) / 2)


def test_cosines_do_not_see_the_length_of_the_outputs():
    head, batch = drawn_batch()
    for loss in ("kl", "rows"):
        chosen = settings(loss=loss, similarity="cosine", temperature=0.1)
        longer = head * torch.arange(1.0, 7)[:, None]
        torch.testing.assert_close(
            training.divergence(longer, batch, chosen)[0], training.divergence(head, batch, chosen)[0]
        )


def test_rows_compare_all_pairs_of_a_batch_and_held_out_triplets_by_kl():
    head, batch = drawn_batch()
    chosen = settings(loss="rows", temperature=2.0, teacher_temperature=4.0)
    found = training.divergence(head, batch, chosen)[0]
    torch.testing.assert_close(found, losses.rows(head @ head.T / 2, batch.pairs / 4))
    without = drawn_batch(pairs=None)[1]
    kl = training.divergence(head, without, settings(loss="kl", temperature=2.0, teacher_temperature=4.0))
    assert training.divergence(head, without, chosen)[0] == kl[0]


def test_a_student_learns_its_teachers_pairs(toy):
    curve = fit(tiny(), toy, settings(loss="rows", steps=30, lr=0.003))
    assert curve["loss"].dropna().tail(3).mean() < 0.7 * curve["loss"].head(3).mean()


def test_frozen_batch_norm_keeps_its_statistics_and_moving_batch_norm_does_not(toy):
    for fixed in (True, False):
        model = tiny(convolutional=True)
        before = state(model)
        fit(model, toy, settings(steps=1, frozen_batch_norm=fixed))
        statistics = {name for name in before if "running_" in name}
        assert statistics
        assert changed(model, before) & statistics == (set() if fixed else statistics)
        assert not model.training


def test_frozen_layers_keep_their_weights_and_the_others_do_not(toy):
    model = tiny()
    before = state(model)
    fit(model, toy, settings(frozen_layers=["patch_embed", "blocks.0.attn"]))
    names = {name for name, _ in model.named_parameters()}
    frozen = {name for name in names if name.startswith(("embedder.model.patch_embed", "embedder.model.blocks.0.attn"))}
    assert len(frozen) == 6
    assert changed(model, before) == names - frozen


def test_a_layer_that_the_backbone_lacks_is_refused(toy):
    with pytest.raises(AttributeError):
        fit(tiny(), toy, settings(frozen_layers=["blocks.77"]))


@pytest.mark.parametrize("loss", ["kl", "jsd", "hard"])
def test_the_loss_falls_and_agreement_rises_where_there_is_something_to_learn(toy, loss):
    curve = fit(tiny(), toy, settings(steps=40, loss=loss, warmup_steps=5))
    assert curve["step"].tolist() == list(range(41))  # the last row is of the finished student: held-out scores only
    steps = curve[:40]
    assert steps["loss"][-5:].mean() < 0.6 * steps["loss"][:5].mean()
    assert steps["agreement"][-5:].mean() > 0.95
    assert steps["agreement"].between(0, 1).all()
    watched = curve.dropna(subset="held_out_accuracy")
    assert watched["step"].tolist() == list(range(0, 41, 2))
    assert watched["held_out_accuracy"].iloc[-1] == 1


def pooled_of(model, toy):
    paths = toy.paths if hasattr(toy, "paths") else toy[0]
    return network.represent(model, pictures.stack(paths, 32, 0).split(16), "float32")[0]


def test_kept_neighbourhoods_stray_less_and_the_triplets_are_still_learnt(toy):
    moved, agreement = [], []
    for weight in (0.0, 0.9):
        model = tiny()
        before = pooled_of(model, toy)
        curve = fit(model, toy, settings(steps=40, warmup_steps=5, keep_neighbours=weight, lr=0.003))
        moved.append(float(losses.local(before, pooled_of(model, toy), 0.1)))
        agreement.append(curve["agreement"][35:40].mean())
    assert moved[1] < moved[0]
    assert agreement[1] > 0.7


def test_a_batch_in_parts_keeps_neighbourhoods_alike(toy):
    runs = []
    for parts in (1, 2):
        model = tiny()
        fit(model, toy, settings(steps=3, keep_neighbours=0.5, batch_parts=parts, lr=0.0001))
        runs.append(state(model))
    for name in runs[0]:
        torch.testing.assert_close(runs[0][name], runs[1][name], rtol=1e-3, atol=1e-5)


def test_one_seed_gives_the_same_weights_bit_for_bit_and_another_gives_others(toy):
    runs = []
    for seed in (1, 1, 2):
        model = tiny(seed=seed)
        curve = fit(model, toy, settings(seed=seed))
        runs.append((state(model), curve))
    assert not changed(model, runs[2][0])
    assert all(torch.equal(runs[0][0][name], runs[1][0][name]) for name in runs[0][0])
    pd.testing.assert_frame_equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0]["triplet_head.weight"], runs[2][0]["triplet_head.weight"])


def test_a_fit_leaves_the_global_random_state_alone(toy):
    model = tiny()
    before = torch.get_rng_state()
    fit(model, toy, settings(steps=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_not_a_number_stops_the_fit_at_its_step(toy):
    broken = (toy[0], toy[1] * np.nan, *toy[2:])
    chosen = settings()
    with pytest.raises(FloatingPointError, match="step 0"):
        training.fit(tiny(), feed_of(broken, chosen), held_out_of(toy), chosen)


STOP = {"stop_above": 3.0, "stop_margin": 0.1, "stop_watches": 3}  # as in params.yaml


def test_a_diverging_fit_stops(toy):
    with pytest.raises(FloatingPointError, match="held-out loss rose"):
        fit(tiny(), toy, settings(lr=10.0, steps=20, warmup_steps=0, **STOP))


@pytest.mark.slow
def test_a_healthy_fit_that_starts_at_a_tiny_loss_goes_on(toy):
    model = tiny(head_width=8)
    fit(model, toy, settings(steps=60, lr=0.003))
    again = settings(steps=12, lr=0.001, warmup_steps=0, held_out_every=1, **STOP)
    curve = fit(model, toy, again)
    assert curve["held_out_loss"].iloc[0] < 0.02
    assert len(curve) == 13


@pytest.mark.parametrize(
    ("held_out_losses", "lost"),
    [
        ([0.0027, 0.0088, 0.02, 0.05], False),  # many times the first, and still nothing
        ([0.3, 1.1, 0.4, 1.2], False),  # one bad watch is not a trend
        ([0.3, 1.1, 1.0], False),  # two of three
        ([0.3, 2.0, 1.5, 1.2], False),  # on its way back
        ([0.3, 1.1, 1.2, 1.3], True),
        ([0.3, 1.2, 1.1, 1.2], True),
        ([0.0027, 0.2, 0.3, 0.4], True),
    ],
)
def test_a_fit_is_lost_where_the_loss_stays_large_and_does_not_fall(held_out_losses, lost):
    assert training.diverged(held_out_losses, settings(**STOP)) is lost


def test_representations_keep_the_order_of_the_pictures(toy):
    model = tiny()
    pooled, head = network.represent(model, toy[3].split(5), "float32")
    assert (pooled.shape, head.shape) == ((32, 192), (32, 8))
    whole = model.eval()(toy[3])
    torch.testing.assert_close(head, whole[1].detach(), atol=1e-5, rtol=1e-4)
    assert network.represent(model, [toy[3]], "bfloat16")[0].dtype == torch.float32


def test_a_saved_student_loads_back_with_its_curve_and_representations(toy, tmp_path):
    model = tiny()
    curve = fit(model, toy, settings())
    jobs.save(tmp_path / "vit", model, curve, toy[3][:6].split(4), settings())
    names = ["curve.csv", "head.npy", "pooled.npy", "student.safetensors"]
    assert sorted(path.name for path in (tmp_path / "vit").iterdir()) == names
    loaded = tiny(seed=7)
    load_model(loaded, str(tmp_path / "vit" / "student.safetensors"))
    assert not changed(loaded, state(model))
    pooled, head = network.represent(loaded, toy[3][:6].split(4), "float32")
    assert np.array_equal(np.load(tmp_path / "vit" / "pooled.npy"), pooled.numpy())
    assert np.array_equal(np.load(tmp_path / "vit" / "head.npy"), head.numpy())
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "vit" / "curve.csv"), curve, rtol=1e-5)


def test_a_student_whose_network_shares_tensors_is_restored_and_exported_whole(tmp_path):
    backbone = config.Backbone(
        model="coat_lite_tiny", options={}, weights="random", layer="pooled", picture_size=224, seed=0
    )
    student = network.create(backbone, settings())
    shared = [tensor.data_ptr() for tensor in student.state_dict().values()]
    assert len(set(shared)) < len(shared)
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(0.01)
    shown = torch.randint(256, (2, 3, 224, 224), generator=inputs.generator(), dtype=torch.uint8)
    jobs.save(tmp_path, student, pd.DataFrame(), [shown], settings())
    stored = load_file(tmp_path / "student.safetensors")
    assert stored.keys() == student.state_dict().keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in student.state_dict().items())
    restored = backbones.create(backbone)
    activations.restore(restored, tmp_path / "student.safetensors")
    with torch.inference_mode():
        assert torch.equal(restored(shown), student.eval()(shown)[0])
    model, head = export.parts(stored, restored.model.state_dict(), "stored")
    assert model.keys() == restored.model.state_dict().keys()
    assert set(head) == {"weight", "bias"}


def test_labels_of_another_number_of_pictures_are_refused(tmp_path):
    np.save(tmp_path / "representation.npy", np.ones((3, 2), np.float32))
    np.save(tmp_path / "clusters.npy", np.array([0, 1, 0]))
    images = pd.DataFrame({"image": list("abcd"), "split": ["synthesis"] * 3 + ["test"]})
    world = World("tiny", "human", tmp_path, ("class",), images, pd.DataFrame(), None)
    representation, clusters = jobs.load_labels(tmp_path, world)
    assert representation.shape == (3, 2)
    assert clusters.tolist() == [0, 1, 0]
    images["split"] = "synthesis"
    with pytest.raises(ValueError, match="3 pictures, the world has 4"):
        jobs.load_labels(tmp_path, world)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_triplets_of_a_file_are_those_of_its_file_names_stored_or_deflated(tmp_path, save):
    names = np.array([f"images/{number}.png" for number in range(6)])
    images = pd.DataFrame({"image": names, "path": names, "split": ["human"] * 2 + ["synthesis"] * 4})
    world = World("tiny", "human", tmp_path, ("class",), images, pd.DataFrame(), None)
    numbers, similarities = np.array([[3, 0, 1], [2, 1, 0]]), np.array([[0.1, 0.2, 0.3], [0.2, 0.5, 0.9]], np.float32)
    for split in ("train", "valid"):  # the file numbers the four pictures in an order of its own
        triplet_files.write(tmp_path / "stored.npz", names[[5, 4, 3, 2]], numbers, similarities)
        with np.load(tmp_path / "stored.npz") as arrays:
            save(tmp_path / f"{split}_cluster_border.npz", **arrays)
    chosen = settings(source="file", batch_triplets=2, held_out_triplets=2)
    for batch in (jobs.load_source(tmp_path, world, chosen).at(0), jobs.load_held_out(tmp_path, world, chosen)):
        shown = batch.rows[batch.triplets]
        assert shown.tolist() == [[0, 3, 2], [1, 2, 3]]  # positions in the synthesis split
        assert np.array_equal(batch.similarities.numpy(), similarities)


def trained(toy, chosen, dropout=0.0, **more):
    model = tiny(seed=chosen.seed, dropout=dropout)
    curve = fit(model, toy, chosen, **more)
    return state(model), curve


FROZEN = ["conv_stem", "bn1", *(f"blocks.{n}" for n in range(5))]


def with_a_frozen_part(toy, chosen, store, cache_bytes):
    """Weights, curve and number of pictures that went through the first layer."""
    model, seen = tiny(convolutional=True, head_width=8), []
    part = network.split(model, chosen, 32)
    model.embedder.model.conv_stem.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    reading = config.Features(batch_size=64, workers=0, precision="float32", cache_bytes=cache_bytes, devices=1)
    outputs = frozen.outputs(part, toy[0], 32, "float32", reading, store)
    paths, teacher, clusters, _ = toy
    source = batches.InBatch(teacher, clusters, chosen)
    feed = batches.Feed(source, paths, 32, 0, cache_bytes, outputs)
    return state(model), training.fit(model, feed, held_out_of(toy), chosen), state(model), sum(seen)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"batch_parts": 2}, {"gradient_checkpointing": True}])
def test_the_frozen_part_runs_once_a_picture_and_changes_nothing_beyond_rounding(toy, tmp_path, changes):
    """Not to the last bit: the frozen part's kernels add in another order in batches of another size."""
    chosen = settings(steps=6, frozen_layers=FROZEN, lr=0.0003, **changes)
    _, plain, expected, all_passes = with_a_frozen_part(toy, chosen, tmp_path, cache_bytes=0)
    assert not list(tmp_path.iterdir())
    start, cached, found, passes = with_a_frozen_part(toy, chosen, tmp_path, cache_bytes=10**6)
    assert passes == 32 + 1  # and once the first picture, to see how large its output is
    *_, again, passes = with_a_frozen_part(toy, chosen, tmp_path, cache_bytes=10**6)
    assert passes == 1
    assert all(torch.equal(again[name], tensor) for name, tensor in found.items())
    assert all_passes > 60
    np.testing.assert_allclose(cached["loss"].dropna(), plain["loss"].dropna(), rtol=1e-3)
    np.testing.assert_allclose(cached["held_out_loss"].dropna(), plain["held_out_loss"].dropna(), rtol=1e-3)
    assert any(not torch.equal(found[name], start[name]) for name in found)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_a_batch_in_parts_has_the_gradients_of_the_whole_batch(toy, parts):
    gradients = []
    for number in (1, parts):
        model = tiny()
        curve = fit(model, toy, settings(steps=1, batch_parts=number, batch_pictures=5))
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert curve["loss"][0] > 0.01
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_both_forward_passes_of_a_part_drop_the_same_and_each_step_drops_something_else(toy):
    model, heads = tiny(dropout=0.5), []
    model.triplet_head.register_forward_hook(lambda _module, _shown, output: heads.append(output.detach()))
    fit(model, toy, settings(steps=2, batch_parts=2, held_out_every=100, lr=1e-9))
    drawn = [output for output in heads if len(output) == 3]  # not the held-out pictures
    assert len(drawn) == 8  # two steps, two passes, two parts
    assert torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[1], drawn[3])
    training.reseed(training.Run(model, settings()), 0)
    first = torch.rand(3)
    training.reseed(training.Run(model, settings(seed=1)), 0)
    assert not torch.equal(torch.rand(3), first)


def test_the_progress_bar_shows_loss_held_out_accuracy_and_rates(toy, capsys):
    fit(tiny(), toy, settings())
    assert re.search(r"loss=\d+\.\d+, held_out=\d\.\d\d, pictures/s=\d+, triplets/s=\d+", capsys.readouterr().err)


def test_gradient_checkpointing_changes_no_step(toy):
    whole, _ = trained(toy, settings())
    thrifty, _ = trained(toy, settings(gradient_checkpointing=True))
    for name, tensor in whole.items():
        torch.testing.assert_close(thrifty[name], tensor, atol=1e-6, rtol=1e-5)


def test_the_largest_gradient_is_clipped(toy):
    free, curve = trained(toy, settings(steps=1))
    limit = 0.1 * curve["gradient_norm"][0]
    held, clipped = trained(toy, settings(steps=1, clip_gradient=float(limit)))
    assert clipped["gradient_norm"][0] == pytest.approx(curve["gradient_norm"][0])  # the norm before it was clipped
    assert any(not torch.equal(free[name], held[name]) for name in free)
    model = tiny()
    fit(model, toy, settings(steps=1, clip_gradient=float(limit)))
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert torch.cat([gradient.flatten() for gradient in gradients]).norm().item() == pytest.approx(limit, rel=1e-4)


@pytest.mark.slow
def test_half_precision_with_a_scaled_loss_learns_too(toy):
    _, curve = trained(toy, settings(steps=30, precision="float16", warmup_steps=5))
    assert curve["loss"][25:30].mean() < 0.6 * curve["loss"][:5].mean()


def killed_and_resumed(toy, chosen, path, monkeypatch, stop, dropout):
    """Weights and curve of a run that stops in step `stop` and resumes from its checkpoint."""
    update = training._update

    def killed_at(run, shown, batch):
        if run.step == stop:
            raise KeyboardInterrupt
        return update(run, shown, batch)

    monkeypatch.setattr(training, "_update", killed_at)
    with pytest.raises(KeyboardInterrupt):
        trained(toy, chosen, dropout, checkpoint=path, work="same")
    monkeypatch.setattr(training, "_update", update)
    return trained(toy, chosen, dropout, checkpoint=path, work="same")


@pytest.mark.slow
@pytest.mark.parametrize("stop", range(1, 10))
def test_a_killed_run_goes_on_and_ends_with_the_same_weights_bit_for_bit(toy, tmp_path, monkeypatch, stop):
    chosen = settings(steps=10, checkpoint_every=1 + stop % 3)
    expected, curve = trained(toy, chosen)
    found, resumed = killed_and_resumed(toy, chosen, tmp_path / "run.pt", monkeypatch, stop, 0.0)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    pd.testing.assert_frame_equal(resumed, curve)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dropout", "changes"),
    [(0.3, {}), (0.3, {"gradient_checkpointing": True}), (0.0, {"precision": "float16"}), (0.3, {"batch_parts": 2})],
)
def test_a_killed_run_also_goes_on_with_its_random_numbers_and_its_scaler(toy, tmp_path, monkeypatch, dropout, changes):
    chosen = settings(steps=8, checkpoint_every=3, **changes)
    expected, curve = trained(toy, chosen, dropout)
    found, resumed = killed_and_resumed(toy, chosen, tmp_path / "run.pt", monkeypatch, 5, dropout)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    pd.testing.assert_frame_equal(resumed, curve)


@pytest.mark.slow
def test_a_process_killed_from_outside_ends_with_the_same_weights(tmp_path):
    """SIGKILL at a random moment of a run in a process of its own; ten of them: python bench/resume.py."""
    command = [sys.executable, str(config.home() / "bench" / "resume.py"), "1", str(tmp_path / "resume.csv")]
    environment = os.environ | {"PYTHONPATH": str(config.home())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(tmp_path / "resume.csv")
    assert len(table) == 1
    assert table["weights_equal"].all()
    assert table["resumed_from"].between(table["step"] - 3, table["step"] + 1).all()


def test_a_step_is_adams_and_the_decay_from_the_weights_before_it(toy):
    chosen = settings(steps=3, decay_to_initial=50.0, warmup_steps=0)
    model, by_hand = tiny(), tiny()
    curve = fit(model, toy, chosen)
    feed, weights = feed_of(toy, chosen), list(by_hand.parameters())
    initial = [weight.detach().clone() for weight in weights]
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    for step, (shown, batch) in enumerate(feed.steps(0, 3)):
        loss, _ = training.divergence(by_hand.train()(shown)[1], batch, chosen)
        for n, gradient in enumerate(torch.autograd.grad(loss, weights)):
            first[n] = 0.9 * first[n] + 0.1 * gradient
            second[n] = 0.999 * second[n] + 0.001 * gradient**2
            adam = (first[n] / (1 - 0.9 ** (step + 1))) / ((second[n] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
            decayed = adam + chosen.decay_to_initial * (weights[n].detach() - initial[n])
            weights[n].data -= curve["lr"][step] * decayed
    for (name, found), expected in zip(model.named_parameters(), weights, strict=True):
        if not name.endswith("qkv.bias"):  # softmax does not see the keys' bias: its gradients are rounding errors
            torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.slow
def test_a_compiled_student_takes_the_same_steps(toy, monkeypatch):
    compiled, plain = [], torch.nn.Module.compile

    def without_code(module):
        compiled.append(module)
        plain(module, backend="aot_eager")  # the graph is traced, not turned into machine code, which takes a minute

    monkeypatch.setattr(torch.nn.Module, "compile", without_code)
    expected, curve = trained(toy, settings())
    assert compiled == []
    found, traced = trained(toy, settings(compile=True))
    assert len(compiled) == 1
    pd.testing.assert_frame_equal(traced, curve, rtol=1e-3)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-4)


def test_pictures_that_several_triplets_of_a_file_show_are_forwarded_once(toy):
    chosen = settings(source="file", batch_triplets=6, steps=5)
    generator = np.random.default_rng(0)
    triplets = np.stack([generator.permutation(9)[:3] for _ in range(30)])
    similarities = np.stack([(toy[1][row] @ toy[1][row].T)[(1, 0, 0), (2, 2, 1)] for row in triplets])
    source, model, seen = batches.FromFile(triplets, similarities, chosen), tiny(), []
    model.embedder.register_forward_hook(lambda _module, shown, _output: seen.append(shown[0]))
    watched = training._watch(training.Run(model, chosen), feed_of(toy, chosen), held_out_of(toy))
    assert len(seen) == 1
    seen.clear()
    feed = batches.Feed(source, toy[0], 32, 0, 10**6)
    curve = training.fit(model, feed, held_out_of(toy), chosen)
    trained_on = [shown for shown in seen if len(shown) != len(held_out_of(toy).rows)]
    assert len(trained_on) + sum(curve["held_out_loss"].notna()) >= 5
    for shown in trained_on:
        assert len(shown.unique(dim=0)) == len(shown) <= 9 < 3 * chosen.batch_triplets
    assert watched["held_out_loss"] == pytest.approx(curve["held_out_loss"][0], abs=1e-6)


def test_a_checkpoint_of_other_work_is_not_used(toy, tmp_path, capsys):
    chosen = settings()
    trained(toy, chosen, checkpoint=tmp_path / "run.pt", work="one")
    expected, _ = trained(toy, chosen)
    found, _ = trained(toy, chosen, checkpoint=tmp_path / "run.pt", work="another")
    assert "starting anew" in capsys.readouterr().err
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_other_labels_settings_and_backbones_are_other_work(tmp_path):
    rows = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    backbone = config.load("backbones.vit", config.Backbone, "params/smoke.yaml")

    def work(scale=1.0, more=(), model=backbone, **changes):
        np.save(tmp_path / "representation.npy", scale * rows)
        np.save(tmp_path / "clusters.npy", np.concatenate([np.arange(3000) % 7, more]))
        return jobs._work(tmp_path, settings(**changes), model)

    other = dataclasses.replace(backbone, seed=5)
    found = [work(), work(2.0), work(more=[1]), work(lr=0.5), work(model=other)]
    assert len(set(found)) == 5
    assert work() == found[0]


def test_decoding_step_by_step_gives_what_the_decoded_cache_gives(toy):
    chosen = settings()
    kept, _ = trained(toy, chosen)
    model = tiny()
    training.fit(model, feed_of(toy, chosen, cache_bytes=0, workers=2), held_out_of(toy), chosen)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("cache_bytes", "decoded"), [(0, 3), (40_000, 1)])
def test_held_out_pictures_are_decoded_once_where_they_fit(toy, monkeypatch, cache_bytes, decoded):
    chosen, opened, decode = settings(), [], pictures.decode
    monkeypatch.setattr(pictures, "decode", lambda path, size: opened.append(path) or decode(path, size))
    kept, held_out = feed_of(toy, chosen, cache_bytes), held_out_of(toy)
    curve = training.fit(tiny(), kept, held_out, chosen)
    assert len(opened) == 4 * 6 + decoded * len(held_out.rows)  # four batches of six, watched three times
    pd.testing.assert_frame_equal(curve, fit(tiny(), toy, chosen))


@pytest.mark.parametrize("cache_bytes", [0, 10**6])
def test_a_broken_picture_is_named_before_the_first_step(toy, tmp_path, cache_bytes):
    broken = tmp_path / "cut.png"
    broken.write_bytes(toy[0][5].read_bytes()[:200])
    paths = [*toy[0][:5], broken, *toy[0][6:]]
    with pytest.raises(WorldError, match=r"cut\.png"):
        feed_of((paths, *toy[1:]), settings(), cache_bytes)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tmp_path):
    """One torchrun of two gloo processes and one process alone, the same global batches."""
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=[str(config.home() / "tests"), str(Path(__file__).parent)]))
    curves = {}
    for count in (1, 2):
        out = tmp_path / f"{count}.csv"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(config.home())}
        done = subprocess.run([*torchrun, str(script), str(out)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        curves[count] = pd.read_csv(out)
    assert len(curves[1]) == 2 * 7
    assert np.abs(curves[1]["loss"] - curves[2]["loss"]).max() < 1e-5
    assert curves[1]["loss"].notna().sum() == 2 * 6
    assert np.abs(curves[1]["held_out_loss"] - curves[2]["held_out_loss"]).max() < 1e-5


TWO = """
import sys
sys.path[:0] = {tests!r}
from pathlib import Path
import torch
from alignet import devices
import test_student as t

torch.set_num_threads(1)
with devices.process_group():
    toy = t.make_toy(Path(sys.argv[1]).with_suffix("") / str(devices.rank()))
    chosen = [t.settings(steps=6, batch_clusters=3, batch_pictures=5, batch_parts=parts) for parts in (1, 2)]
    curves = [t.fit(t.tiny(), toy, each) for each in chosen]
    if devices.rank() == 0:
        t.pd.concat(curves).to_csv(sys.argv[1], index=False)
"""


def test_an_empty_folder_links_to_what_a_student_reads_of_the_run_and_another_is_left_alone(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv(config.HOME, str(tmp_path / "run"))
    for name in ("world", "synthesis", "students"):
        (tmp_path / "run" / "data" / name).mkdir(parents=True)
    assert jobs.folder(".") == tmp_path / "run" / "data"
    assert capsys.readouterr().out == ""
    for _ in range(2):
        data = jobs.folder(str(tmp_path / "trial"))
    assert data == tmp_path / "trial" / "data"
    assert {path.name for path in data.iterdir()} == {"world", "synthesis"}
    assert (data / "world").resolve() == tmp_path / "run" / "data" / "world"
    assert len(capsys.readouterr().out.splitlines()) == 1
    (tmp_path / "other" / "data" / "world").mkdir(parents=True)
    assert [path.name for path in jobs.folder(str(tmp_path / "other")).iterdir()] == ["world"]
    (tmp_path / "run").rename(tmp_path / "moved")
    monkeypatch.setenv(config.HOME, str(tmp_path / "moved"))
    assert (jobs.folder(str(tmp_path / "trial")) / "world").resolve() == tmp_path / "moved" / "data" / "world"


def test_a_stage_refuses_to_write_through_a_link_into_another_run(tmp_path):
    (tmp_path / "run" / "data" / "synthesis" / "alignet").mkdir(parents=True)
    (tmp_path / "trial" / "data").mkdir(parents=True)
    linked, own = (tmp_path / "trial" / "data" / name for name in ("synthesis", "students"))
    linked.symlink_to(tmp_path / "run" / "data" / "synthesis")
    assert config.own(own / "lite0") == own / "lite0"
    there = tmp_path / "run" / "data" / "synthesis"
    refused = rf"{linked}: is a link to {there}, as the parts of another run are: remove"
    with pytest.raises(config.ConfigError, match=refused):
        config.own(linked / "alignet")
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")  # a project that is reached by a link is the run's own
    assert config.own(tmp_path / "home" / "data" / "teacher")


def opened_to_write(tree):
    """Functions of a module that make a folder, and whether each asks `config.own` first."""
    made = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and ".mkdir(" in ast.unparse(node)]
    return {node.name: "config.own(" in ast.unparse(node) for node in made}


@pytest.mark.parametrize(
    ("module", "functions"),
    [
        ("worlds/format/tables", ["staged"]),
        ("models/features", ["save_features"]),
        ("people/choice_distributions", ["save"]),
        ("teacher/affine_map", ["save"]),
        ("synthesis/labelling", ["represent", "write"]),
        ("student/jobs", ["save"]),
        ("evaluation/influences", ["save"]),
    ],
)
def test_what_writes_a_part_of_data_asks_whether_it_is_the_runs_own(module, functions):
    source = Path(config.__file__).parent / f"{module}.py"
    found = opened_to_write(ast.parse(source.read_text(encoding="utf-8")))
    assert [found[name] for name in functions] == [True] * len(functions)
