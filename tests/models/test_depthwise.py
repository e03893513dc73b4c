import pytest
import torch
from inputs import SMOKE
from torch import nn

from alignet import config
from alignet.models import depthwise
from alignet.student import network as students
from alignet.student import training

SHAPES = [(4, 5, 2), (3, 5, 2), (2, 3, 1), (4, 5, 1)]  # pixels, kernel, padding: pictures smaller than the kernel


def network(size, kernel, padding):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 6, kernel, padding=padding, groups=6, bias=False))
    shown = torch.randn(7, 6, size, size).to(memory_format=torch.channels_last).requires_grad_()
    return model.to(memory_format=torch.channels_last), shown


def gradients(model, shown):
    output = model(shown)
    return output, *torch.autograd.grad(output.square().sum(), [shown, *model.parameters()])


@pytest.mark.parametrize(("size", "kernel", "padding"), SHAPES)
def test_outputs_and_gradients_are_those_of_the_plain_convolution(size, kernel, padding):
    model, shown = network(size, kernel, padding)
    expected = gradients(model, shown)
    depthwise.speed_up(model)
    assert "_Convolution" in type(model(shown).grad_fn).__name__
    for found, one in zip(gradients(model, shown), expected, strict=True):
        torch.testing.assert_close(found, one, atol=1e-4, rtol=1e-4)


def test_pictures_of_different_height_and_width():
    model, _ = network(4, 5, 2)
    shown = torch.randn(3, 6, 2, 4, requires_grad=True)
    expected = gradients(model, shown)
    depthwise.speed_up(model)
    for found, one in zip(gradients(model, shown), expected, strict=True):
        torch.testing.assert_close(found, one, atol=1e-4, rtol=1e-4)


def test_a_frozen_input_asks_for_no_gradient_of_it():
    model, shown = network(4, 5, 2)
    depthwise.speed_up(model)
    model(shown.detach()).sum().backward()
    assert model[0].weight.grad is not None


def test_other_convolutions_and_other_precisions_stay_as_they_are():
    others = nn.Sequential(
        nn.Conv2d(6, 6, 3, padding=1, bias=False),
        nn.Conv2d(6, 6, 5, padding=2, groups=6),
        nn.Conv2d(6, 6, 5, padding=2, stride=2, groups=6, bias=False),
        nn.Conv2d(6, 12, 5, padding=2, groups=6, bias=False),
        nn.Conv2d(6, 6, 5, padding="same", groups=6, bias=False),
    )
    depthwise.speed_up(others)
    assert all(type(module) is nn.Conv2d for module in others)
    model, shown = network(4, 5, 2)
    depthwise.speed_up(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert "_Convolution" not in type(model(shown).grad_fn).__name__
    larger = torch.randn(1, 6, 5, 5, requires_grad=True)
    assert "_Convolution" not in type(model(larger).grad_fn).__name__


def test_names_and_weights_of_a_model_stay():
    model, _ = network(4, 5, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    depthwise.speed_up(model)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_fit_has_it_and_what_names_stored_outputs_has_not():
    settings = config.load("students.lite0", config.Student, SMOKE)
    student = students.create(config.load("backbones.lite0", config.Backbone, SMOKE), settings)
    assert "_DepthwiseConv2d" not in repr(student)  # frozen.outputs names its files by the printed model
    part = students.split(student, settings, 48)
    training.Run(student, settings)
    assert "_DepthwiseConv2d" in repr(part.rest)
