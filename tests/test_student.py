import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_model

from alignet import config, student
from alignet.worlds.tables import World

SMALL = {
    "head_width": 8,
    "temperature": 10.0,
    "lr": 0.001,
    "steps": 4,
    "warmup_steps": 1,
    "decay_to_initial": 0.0,
    "batch_clusters": 3,
    "batch_pictures": 2,
    "frozen_batch_norm": True,
    "frozen_layers": [],
    "precision": "float32",
}


def settings(**changes):
    return config.load("students.vit", config.Student, "params.yaml", **(SMALL | changes))


def tiny(convolutional=False, **changes):
    model, options = "vit_tiny_patch16_224", {"img_size": 32, "depth": 1, "patch_size": 8}
    if convolutional:
        model, options = "tf_efficientnet_lite0", {}
    backbone = config.Backbone(model=model, options=options, weights="random", layer="pooled", picture_size=32, seed=0)
    return student.create(backbone, settings(**changes))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model, before):
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.fixture(scope="module")
def toy():
    """Four clusters of eight pictures of one colour each, and a teacher that tells the clusters apart."""
    generator = torch.Generator().manual_seed(0)
    clusters = torch.arange(4).repeat_interleave(8)
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])[clusters]
    noise = torch.randint(-40, 40, (32, 3, 32, 32), generator=generator)
    pictures = (colours[:, :, None, None] + noise).clamp(0, 255).to(torch.uint8)
    return pictures, 2 * torch.nn.functional.one_hot(clusters, 4).float(), clusters


def test_the_rate_warms_up_to_its_peak_and_falls_to_zero_like_a_cosine():
    schedule = settings(lr=0.2, steps=14, warmup_steps=4)
    rates = [student.learning_rate(step, schedule) for step in range(15)]
    assert rates[:5] == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2])
    assert rates[9] == pytest.approx(0.1)
    assert rates[13] == pytest.approx(0.1 * (1 + math.cos(0.9 * math.pi)), rel=1e-4)
    assert rates[14] == pytest.approx(0, abs=1e-8)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_a_rate_without_warm_up_starts_at_its_peak():
    assert student.learning_rate(0, settings(lr=0.2, warmup_steps=0)) == pytest.approx(0.2)


def test_decay_pulls_a_weight_towards_where_it_started():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    decay = student.DecayToInitial([weight], weight_decay=0.5)
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
        student.fit(model, *toy, settings(decay_to_initial=weight_decay))
        moved.append(sum((tensor - before[name]).norm() for name, tensor in model.state_dict().items()))
    assert moved[1] < 0.5 * moved[0]


def test_the_head_is_a_linear_map_of_the_pooled_features(toy):
    model = tiny().eval()
    pooled, head = model(toy[0][:3])
    assert (pooled.shape, head.shape) == ((3, 192), (3, 8))
    torch.testing.assert_close(head, pooled @ model.triplet_head.weight.T + model.triplet_head.bias)


def test_frozen_batch_norm_keeps_its_statistics_and_moving_batch_norm_does_not(toy):
    for frozen in (True, False):
        model = tiny(convolutional=True)
        before = state(model)
        student.fit(model, *toy, settings(steps=1, frozen_batch_norm=frozen))
        statistics = {name for name in before if "running_" in name}
        assert statistics
        assert changed(model, before) & statistics == (set() if frozen else statistics)
        assert not model.training


def test_frozen_layers_keep_their_weights_and_the_others_do_not(toy):
    model = tiny()
    before = state(model)
    student.fit(model, *toy, settings(frozen_layers=["patch_embed", "blocks.0.attn"]))
    names = {name for name, _ in model.named_parameters()}
    frozen = {name for name in names if name.startswith(("embedder.model.patch_embed", "embedder.model.blocks.0.attn"))}
    assert len(frozen) == 6
    assert changed(model, before) == names - frozen


def test_a_layer_that_the_backbone_lacks_is_refused(toy):
    with pytest.raises(AttributeError):
        student.fit(tiny(), *toy, settings(frozen_layers=["blocks.77"]))


@pytest.mark.parametrize("loss", ["kl", "jsd", "hard"])
def test_the_loss_falls_and_agreement_rises_where_there_is_something_to_learn(toy, loss):
    curve = student.fit(tiny(), *toy, settings(steps=40, loss=loss, warmup_steps=5))
    assert curve["step"].tolist() == list(range(40))
    assert curve["loss"][-5:].mean() < 0.6 * curve["loss"][:5].mean()
    assert curve["agreement"][-5:].mean() > 0.95
    assert curve["agreement"].between(0, 1).all()


def test_one_seed_gives_the_same_weights_bit_for_bit_and_another_gives_others(toy):
    runs = []
    for seed in (1, 1, 2):
        model = tiny(seed=seed)
        curve = student.fit(model, *toy, settings(seed=seed))
        runs.append((state(model), curve))
    assert not changed(model, runs[2][0])
    assert all(torch.equal(runs[0][0][name], runs[1][0][name]) for name in runs[0][0])
    pd.testing.assert_frame_equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0]["triplet_head.weight"], runs[2][0]["triplet_head.weight"])


def test_a_fit_leaves_the_global_random_state_alone(toy):
    model = tiny()
    before = torch.get_rng_state()
    student.fit(model, *toy, settings(steps=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_is_different_pictures_cluster_by_cluster(toy):
    clusters = toy[2]
    sampler = student._BatchSampler(clusters, settings(batch_pictures=5), torch.Generator().manual_seed(0))
    for _ in range(10):
        batch = sampler.draw()
        label = clusters[batch].view(3, 5)
        assert (label == label[:, :1]).all()
        assert len(label[:, 0].unique()) == 3
        assert len(batch.unique()) == 15


def test_too_few_large_clusters_are_refused_with_their_number(toy):
    pictures, teacher, _ = toy
    clusters = torch.tensor([0] * 8 + [1] * 8 + list(range(2, 18)))
    with pytest.raises(ValueError, match="only 2 clusters"):
        student.fit(tiny(), pictures, teacher, clusters, settings())


def test_a_loss_that_is_not_a_number_stops_the_fit_at_its_step(toy):
    pictures, teacher, clusters = toy
    with pytest.raises(FloatingPointError, match="step 0"):
        student.fit(tiny(), pictures, teacher * torch.nan, clusters, settings())


def test_representations_keep_the_order_of_the_pictures(toy):
    model = tiny()
    pooled, head = student.represent(model, toy[0].split(5), "float32")
    assert (pooled.shape, head.shape) == ((32, 192), (32, 8))
    whole = model.eval()(toy[0])
    torch.testing.assert_close(head, whole[1].detach(), atol=1e-5, rtol=1e-4)
    assert student.represent(model, [toy[0]], "bfloat16")[0].dtype == torch.float32


def test_a_saved_student_loads_back_with_its_curve_and_representations(toy, tmp_path):
    model = tiny()
    curve = student.fit(model, *toy, settings())
    student.save(tmp_path / "vit", model, curve, toy[0][:6].split(4), settings())
    names = ["curve.csv", "head.npy", "pooled.npy", "student.safetensors"]
    assert sorted(path.name for path in (tmp_path / "vit").iterdir()) == names
    loaded = tiny(seed=7)
    load_model(loaded, str(tmp_path / "vit" / "student.safetensors"))
    assert not changed(loaded, state(model))
    pooled, head = student.represent(loaded, toy[0][:6].split(4), "float32")
    assert np.array_equal(np.load(tmp_path / "vit" / "pooled.npy"), pooled.numpy())
    assert np.array_equal(np.load(tmp_path / "vit" / "head.npy"), head.numpy())
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "vit" / "curve.csv"), curve, rtol=1e-5)


def test_labels_of_another_number_of_pictures_are_refused(tmp_path):
    np.save(tmp_path / "representation.npy", np.ones((3, 2), np.float32))
    np.save(tmp_path / "clusters.npy", np.array([0, 1, 0]))
    images = pd.DataFrame({"image": list("abcd"), "split": ["synthesis"] * 3 + ["test"]})
    world = World("tiny", "human", tmp_path, ("class",), images, pd.DataFrame(), None)
    representation, clusters = student.load_labels(tmp_path, world)
    assert representation.shape == (3, 2)
    assert clusters.tolist() == [0, 1, 0]
    images["split"] = "synthesis"
    with pytest.raises(ValueError, match="3 pictures, the world has 4"):
        student.load_labels(tmp_path, world)
