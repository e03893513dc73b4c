import copy

import pytest
import torch
from PIL import Image
from torch import nn

from alignet import config
from alignet.models import backbones, frozen
from alignet.worlds.format.tables import WorldError


def embedder(model, seed=0, **options):
    return backbones.create(
        config.Backbone(model=model, options=options, weights="random", layer="pooled", picture_size=64, seed=seed)
    )


def pictures(n=5):
    return torch.randint(256, (n, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def changing(model, *trained, frozen_batch_norm=True):
    """The changing submodules where those named are trained and all others frozen."""
    model.requires_grad_(False)
    for name in trained:
        model.get_submodule(name).requires_grad_(True)
    return frozen.changing_modules(model, frozen_batch_norm)


CUTS = [  # model, what is trained, where the frozen part ends
    ("tf_efficientnet_lite0", ["blocks.5", "blocks.6", "conv_head"], "blocks.4"),
    ("tf_efficientnet_lite0", ["blocks.0"], "bn1"),
    ("resnet18", ["layer4"], "layer3"),
    ("convnext_atto", ["stages.3"], "stages.2"),
    ("mobilenetv3_small_050", ["blocks.4"], "blocks.3"),
    ("swin_tiny_patch4_window7_224", ["layers.3"], "layers.2"),
]


@pytest.mark.parametrize(("model", "trained", "layer"), CUTS)
def test_the_two_parts_give_what_the_whole_gives(model, trained, layer):
    whole = embedder(model, **({"img_size": 64} if "swin" in model else {}))
    split = frozen.split(whole, changing(whole.model, *trained), 64)
    assert split.layer == layer
    with torch.no_grad():
        assert torch.equal(split.after(split.before(pictures())), whole(pictures()))


def test_stored_outputs_give_the_whole_to_the_last_bit_on_one_thread_in_batches_of_one_size():
    whole = embedder("tf_efficientnet_lite0")
    split = frozen.split(whole, changing(whole.model, "blocks.5"), 64)
    threads, shown = torch.get_num_threads(), pictures(24)
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            stored = torch.cat([split.before(part) for part in shown.split(8)])
            rows = torch.randperm(24, generator=torch.Generator().manual_seed(0))[:8]
            assert torch.equal(split.after(stored[rows]), whole(shown[rows]))
    finally:
        torch.set_num_threads(threads)


def test_gradients_of_the_rest_are_those_of_the_whole():
    whole = embedder("tf_efficientnet_lite0")
    split = frozen.split(whole, changing(whole.model, "blocks.6", "conv_head"), 64)
    trained = [parameter for parameter in whole.parameters() if parameter.requires_grad]
    by_parts = torch.autograd.grad(split.after(split.before(pictures())).square().sum(), trained)
    for one, other in zip(by_parts, torch.autograd.grad(whole(pictures()).square().sum(), trained), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_the_parts_share_their_parameters_with_the_whole():
    whole = embedder("resnet18")
    names, before = list(whole.state_dict()), copy.deepcopy(whole.state_dict())
    split = frozen.split(whole, changing(whole.model, "layer4"), 64)
    assert list(whole.state_dict()) == names
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())
    with torch.no_grad():
        whole.model.layer4[0].conv1.weight.mul_(2)
        assert torch.equal(split.after(split.before(pictures())), whole(pictures()))


NONE = [
    ("vit_tiny_patch16_224", ["pos_embed"], {"img_size": 64, "depth": 2}),  # parameters of the model itself
    ("tf_efficientnet_lite0", ["conv_stem"], {}),
]


@pytest.mark.parametrize(("model", "trained", "options"), NONE)
def test_nothing_is_cut_where_the_first_thing_run_is_trained(model, trained, options):
    whole = embedder(model, **options)
    whole.model.requires_grad_(False)
    for name in trained:
        found = getattr(whole.model, name)
        found.requires_grad_(True)
    assert frozen.split(whole, frozen.changing_modules(whole.model, True), 64) is None


def test_batch_norm_that_learns_its_statistics_is_no_frozen_part():
    whole = embedder("resnet18")
    found = changing(whole.model, "layer4", frozen_batch_norm=False)
    split = frozen.split(whole, found, 64)
    assert split.layer == "conv1"  # the first batch norm comes behind it
    counted = whole.model.bn1.num_batches_tracked.clone()
    whole.train()
    frozen.split(whole, found, 64)
    assert torch.equal(whole.model.bn1.num_batches_tracked, counted)


def test_a_part_that_draws_random_numbers_is_not_frozen():
    whole = embedder("convnext_atto", drop_path_rate=0.5)
    found = changing(whole.model, "stages.3")
    assert frozen.split(whole.eval(), found, 64).layer == "stages.2"
    whole.train()
    assert whole.training
    assert frozen.split(whole, found, 64).layer in ("stem", "stages.0")  # timm's first blocks drop nothing
    assert all(module.training for module in whole.modules())


def test_a_network_with_a_branch_round_the_cut_is_not_cut_there():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.head_hidden_size, self.first, self.second = 3, nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, shown):
            return (shown + self.second(self.first(shown))).mean((2, 3))

    whole = backbones.Embedder(Branch(), (0.5,) * 3, (0.5,) * 3)
    assert frozen.split(whole, changing(whole.model, "second"), 64) is None


def test_models_are_cut_behind_what_all_of_them_have_in_common():
    base = embedder("resnet18")
    models = [base, *(copy.deepcopy(base) for _ in range(2))]
    models[1].model.layer4[0].conv1.weight.data.mul_(2)
    models[2].model.layer3[0].conv1.weight.data.mul_(2)
    splits = frozen.split_all(models, 64)
    assert {split.layer for split in splits} == {"layer2"}
    with torch.no_grad():
        shared = splits[0].before(pictures())
        for split, model in zip(splits, models, strict=True):
            assert torch.equal(split.after(shared), model(pictures()))
    assert frozen.split_all(models[:1], 64) is None


def stored(folder, split, paths, cache_bytes=10**8, precision="float32"):
    reading = config.Features(batch_size=2, workers=0, precision="float32", cache_bytes=cache_bytes, devices=1)
    return frozen.outputs(split, paths, 64, precision, reading, folder)


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, picture in zip(paths, pictures(3), strict=True):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
    return paths


def test_outputs_are_stored_once_for_what_decides_them(files, tmp_path):
    whole, store = embedder("resnet18"), tmp_path / "frozen"
    split, passes = frozen.split(whole, changing(whole.model, "layer4"), 64), []
    whole.model.conv1.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    with torch.no_grad():
        expected = torch.cat([split.before(pictures(3)[:2]), split.before(pictures(3)[2:])])
    passes.clear()
    assert torch.equal(stored(store, split, files), expected)
    assert passes == [1, 2, 1]  # one to see how large it is, then all
    assert torch.equal(stored(store, split, files), expected)
    assert passes == [1, 2, 1, 1]
    whole.model.layer4[0].conv1.weight.data.mul_(2)  # behind the frozen part
    stored(store, split, files)
    assert len(list(store.iterdir())) == 1
    whole.model.conv1.weight.data.mul_(2)
    assert not torch.equal(stored(store, split, files), expected)
    assert len(list(store.iterdir())) == 2
    stored(store, split, files[:2])
    Image.new("RGB", (64, 64)).save(files[0])
    stored(store, split, files[:2])
    assert len(list(store.iterdir())) == 4


def test_outputs_that_take_more_than_the_bytes_are_not_kept_and_old_ones_go(files, tmp_path):
    whole, store = embedder("resnet18"), tmp_path / "frozen"
    split = frozen.split(whole, changing(whole.model, "layer4"), 64)
    size = stored(store, split, files).nbytes
    assert stored(store, split, files, cache_bytes=size - 1) is None
    (old,) = store.iterdir()
    stored(store, split, files[:2], cache_bytes=size + 10_000)
    assert len(list(store.iterdir())) == 1
    assert not old.exists()


def test_outputs_keep_the_precision_they_were_made_in(files, tmp_path):
    whole = embedder("resnet18")
    split = frozen.split(whole, changing(whole.model, "layer4"), 64)
    for _ in range(2):
        assert stored(tmp_path / "frozen", split, files, precision="bfloat16").dtype == torch.bfloat16


def test_nothing_half_written_stays_when_a_picture_is_broken(files, tmp_path):
    whole = embedder("resnet18")
    split = frozen.split(whole, changing(whole.model, "layer4"), 64)
    files[2].write_bytes(b"no picture")
    with pytest.raises(WorldError, match=r"2\.png"):
        stored(tmp_path / "frozen", split, files)
    assert not (tmp_path / "frozen").exists()
