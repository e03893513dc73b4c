"""Depthwise convolutions on pictures smaller than their kernel, trained on a CPU.

oneDNN has no fast gradient of the weights for this case: it takes 47 ms where the forward pass takes 1 ms (48 pictures
of 4 x 4 pixels and 1,152 channels, 5 x 5 kernel, two cores with AVX2). Computed as a depthwise convolution of the input
with the output's gradient, with one channel for each channel of each picture, it takes 6 ms. The last stages of
EfficientNet see so few pixels of a small picture. A training step of the default run's lite0 is 1.50 [1.38, 2.15] times
as fast with AVX2 and .95 [.91, 1.08] times with AVX-512.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input


class _DepthwiseConv2d(nn.Conv2d):
    """A depthwise nn.Conv2d of stride 1 with a faster gradient; results differ by the gradient's rounding only."""

    def _conv_forward(self, shown: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        small = shown.ndim == 4 and max(shown.shape[2:]) < min(self.kernel_size)
        single = shown.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if small and single and shown.device.type == "cpu" and weight.requires_grad and torch.is_grad_enabled():
            return _Convolution.apply(shown, weight, self.padding)
        return super()._conv_forward(shown, weight, bias)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shown: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(shown, weight)
        ctx.padding = padding
        return F.conv2d(shown, weight, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        shown, weight = ctx.saved_tensors
        of_shown = None
        if ctx.needs_input_grad[0]:
            of_shown = conv2d_input(shown.shape, weight, gradient, padding=ctx.padding, groups=len(weight))
        maps, kernels = _channels(shown), _channels(gradient).transpose(0, 1)
        gradient = F.conv2d(maps, kernels, padding=ctx.padding, groups=len(kernels))
        return of_shown, gradient.view(len(shown), *weight.shape).sum(0), None


def _channels(pictures: Tensor) -> Tensor:
    """A batch (n, c, height, width) as one picture (1, n * c, height, width), channels last in memory."""
    return pictures.permute(2, 3, 0, 1).flatten(2)[None].permute(0, 3, 1, 2)


def speed_up(model: nn.Module) -> None:
    """Replace, in place, a model's depthwise convolutions by ones with the faster gradient where it applies."""
    for module in model.modules():
        depthwise = type(module) is nn.Conv2d and module.groups == module.in_channels == module.out_channels
        plain = depthwise and module.bias is None and module.padding_mode == "zeros"
        if plain and module.stride == module.dilation == (1, 1) and not isinstance(module.padding, str):
            module.__class__ = _DepthwiseConv2d
