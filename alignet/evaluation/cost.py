"""What alignment costs beside pre-training: operations and pictures (docs/method.md, section 9)."""

import math

import pandas as pd
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from alignet import config
from alignet.config import Backbone, Cost
from alignet.models import frozen
from alignet.student import network
from alignet.student.network import Student


def table(students: dict[str, config.Student], backbones: dict[str, Backbone], settings: Cost) -> pd.DataFrame:
    """cost.csv: every student's alignment (one target) and pre-training, and the same at the paper's scale.

    Args: students, backbones: the run's, by name.
    Returns: student, stage (alignment | pretraining), basis (this run | published), flops, images,
        ratio_to_pretraining (of flops), empty where params.yaml gives no pre-training; no seconds: the table is the
        same in every clone.
    Raises: ValueError if the section `cost` has no entry for a student.
    """
    rows = []
    for name, chosen in students.items():
        if name not in settings.pretraining:
            raise ValueError(f"cost.pretraining has no entry for student {name!r} (null: none known)")
        rows += _student_rows(name, backbones[name], chosen, settings)
    rows += _paper_rows(settings)
    return pd.DataFrame(rows)


def step_images(settings: config.Student) -> int:
    """Pictures forwarded a step; with triplets of a file at most this many, since a repeated one is forwarded once."""
    if settings.source == "file":
        assert settings.batch_triplets is not None  # `batches` has refused such settings
        return 3 * settings.batch_triplets
    return settings.batch_clusters * settings.batch_pictures


def training_flops(model: nn.Module, size: int) -> int:
    """Floating-point operations of one picture's forward and backward pass, a multiplication and an addition being two.

    Only what needs a gradient counts in the backward pass; a frozen part counts at every step, though its outputs are
    kept. Nothing is computed: the model is moved to 'meta'.

    Source: torch.utils.flop_counter. Differs from it: the backward pass of a grouped convolution, which it counts as
    if the groups were one (40 times too much for a depthwise network).
    """
    picture = torch.empty(1, 3, size, size, device="meta", dtype=torch.float32)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}) as counter:
        _first(model.to("meta")(picture)).sum().backward()
    return counter.get_total_flops()


def _student_rows(name: str, backbone: Backbone, chosen: config.Student, settings: Cost) -> list[dict]:
    images = step_images(chosen)
    flops = training_flops(_at_the_start(backbone, chosen), backbone.picture_size) * images * chosen.steps
    aligned = {"student": name, "stage": "alignment", "basis": "this run", "flops": flops}
    aligned |= {"images": images * chosen.steps}
    before = settings.pretraining[name]
    if before is None:
        return [aligned | {"ratio_to_pretraining": math.nan}]
    return _with_pretraining(aligned, backbone.model, before["picture_size"], before["images"])


def _at_the_start(backbone: Backbone, chosen: config.Student) -> Student:
    model = network.create(backbone, chosen)
    network.trainable(model, chosen.frozen_layers)
    frozen.train_mode(model, chosen.frozen_batch_norm)
    return model


def _paper_rows(settings: Cost) -> list[dict]:
    images, size = settings.paper_alignment_images, settings.paper_picture_size
    flops = images * _published_flops(settings.paper_model, size)
    names = {"student": f"{settings.paper_model} (paper)", "stage": "alignment", "basis": "published"}
    aligned = names | {"flops": flops, "images": images}
    return _with_pretraining(aligned, settings.paper_model, size, settings.paper_pretraining_images)


def _with_pretraining(aligned: dict, model: str, size: int, images: int) -> list[dict]:
    """The row of an alignment and that of its backbone's pre-training, with the ratios of their flops."""
    flops = images * _published_flops(model, size)
    before = {"student": aligned["student"], "stage": "pretraining", "basis": "published", "flops": flops}
    before |= {"images": images, "ratio_to_pretraining": 1.0}
    return [aligned | {"ratio_to_pretraining": aligned["flops"] / flops}, before]


def _published_flops(model: str, size: int) -> int:
    """Operations of one picture's training step, of the whole network with its classifier as timm builds it."""
    with torch.device("meta"):
        network = timm.create_model(model)
    return training_flops(network, size)


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[-1]


def _backward(
    grad_output: list[int],
    inputs: list[int],
    weight: list[int],
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
    out_shape: object = None,
) -> int:
    """Operations of aten.convolution_backward, whose arguments these are, tensors given by their shapes.

    Its cost is that of the forward pass for the gradient of the input, and once more for that of the weight.
    """
    of_input, of_weight, _ = output_mask
    return conv_flop_count(inputs, weight, grad_output, transposed=transposed) * (bool(of_input) + bool(of_weight))
