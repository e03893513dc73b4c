"""The cost of alignment and of pre-training, in operations and pictures (docs/method.md, section 9)."""

import math
from dataclasses import dataclass, replace

import pandas as pd
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from alignet import config
from alignet.config import Backbone, Cost, FeatureFile, HumanUncertainty, Teacher
from alignet.models import backbones, frozen
from alignet.people import choice_distributions
from alignet.student import network
from alignet.student.network import StudentNetwork
from alignet.teacher import cross_validation
from alignet.worlds.format import roles
from alignet.worlds.format.tables import World

ONCE = "all students"  # name of what is done once, whatever the number of students and targets
UPDATE = 50  # operations for each entry of VICE's parameters in a step: sample, prior, gradients, Adam; a rough count


@dataclass(frozen=True)
class Before:
    """Settings of the work that is done once, before any student. networks: the teacher's; styles: as in
    `World.labelled`.
    """

    people: HumanUncertainty
    teacher: Teacher
    networks: list[Backbone | FeatureFile]
    styles: str


def table(
    students: dict[str, config.Student],
    networks: dict[str, Backbone],
    settings: Cost,
    world: World,
    before: Before,
) -> pd.DataFrame:
    """The table cost.csv.

    It has every student's alignment (to one target) and pre-training, the work that is done once before (the teacher's
    features, VICE, the teacher's cross-validation), and alignment and pre-training at the paper's scale.

    Args: students, networks: those of the run, by name.
    Returns: student, stage (alignment | pretraining | teacher features | VICE | cross-validation), basis (this run |
        published), flops, images, ratio_to_pretraining (of flops; empty where params.yaml gives no pre-training).
        Seconds are left out, so that the table is the same in every clone.
    Raises: ValueError if the section `cost` has no entry for a student.
    """
    rows = []
    for name, chosen in students.items():
        if name not in settings.pretraining:
            raise ValueError(f"cost.pretraining has no entry for student {name!r} (null: none known)")
        rows += _student_rows(name, networks[name], chosen, settings)
    rows += _before_students(before, world)
    rows += _paper_rows(settings)
    return pd.DataFrame(rows)


def step_images(settings: config.Student) -> int:
    """Pictures that are forwarded in a step; for triplets of a file this is a maximum, as repeated ones are forwarded
    once.
    """
    if settings.source == "file":
        assert settings.batch_triplets is not None  # `batches` has refused such settings
        return 3 * settings.batch_triplets
    return settings.batch_clusters * settings.batch_pictures


def training_flops(model: nn.Module, size: int) -> int:
    """Floating-point operations of one picture's forward and backward pass, a multiplication and an addition being two.

    The backward pass counts only what needs a gradient; a frozen part counts at every step, although its outputs are
    stored. Nothing is computed, since the model is moved to 'meta'.

    Source: torch.utils.flop_counter. Differs from it in the backward pass of a grouped convolution, which it counts as
        if there were one group (40 times too much for a depthwise network).
    """
    picture = torch.empty(1, 3, size, size, device="meta", dtype=torch.float32)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}) as counter:
        _first(model.to("meta")(picture)).sum().backward()
    return counter.get_total_flops()


def forward_flops(model: nn.Module, size: int) -> int:
    """Floating-point operations of one picture's forward pass; the model is moved to 'meta'."""
    picture = torch.empty(1, 3, size, size, device="meta", dtype=torch.float32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.to("meta").requires_grad_(False)(picture)
    return counter.get_total_flops()


def _before_students(before: Before, world: World) -> list[dict]:
    """Rows for the work on which all students' labels rest, and which is done once.

    The column images counts pictures for features, and choices that VICE reads and triplets that the teacher's fits
    read over all epochs and fits.
    """
    if not len(world.triplets):
        return []
    single = choice_distributions.single_choices(world, before.people)
    rows = {"teacher features": _teacher_features(before, world)}
    rows["VICE"] = vice_flops(len(single.triplets), len(single.names), before.people)
    rows["cross-validation"] = fits_flops(len(world.rows("human")), before.teacher)
    return [
        {"student": ONCE, "stage": stage, "basis": "this run", "flops": flops, "images": images}
        | {"ratio_to_pretraining": math.nan}
        for stage, (flops, images) in rows.items()
        if images
    ]


def _teacher_features(before: Before, world: World) -> tuple[int, int]:
    """Operations of each teacher network's forward pass over the pictures that it reads, and the number of these."""
    pictures, each = len(roles.of_teacher(world, before.styles)), 0
    networks = [entry for entry in before.networks if not isinstance(entry, FeatureFile)]
    for entry in networks:
        each += forward_flops(backbones.create(replace(entry, weights="random")).model, entry.picture_size)
    return each * pictures, len(networks) * pictures


def vice_flops(choices: int, objects: int, settings: HumanUncertainty) -> tuple[int, int]:
    """Operations of VICE's longest fit (max_epochs, all dimensions), and the choices that it reads.

    They are counted by hand: for each choice three dot products of `dimensions` numbers, forward and for both factors'
    gradients, and for each step UPDATE operations for each mean and each standard deviation.
    """
    if settings.uncertainty != "vice":
        return 0, 0
    steps = settings.max_epochs * math.ceil(choices / settings.batch_size)
    read = settings.max_epochs * choices
    return read * 3 * 3 * 2 * settings.dimensions + steps * UPDATE * 2 * objects * settings.dimensions, read


def fits_flops(pictures: int, settings: Teacher) -> tuple[int, int]:
    """Operations of the teacher's fits on principal axes, and the triplets that they read.

    The fits are those of every cell of the grid in every fold, and the final one. They are counted by hand: for each
    step the map of all judged pictures, forward and for the map's gradient, and three dot products for each triplet,
    forward and for both factors' gradients. Without `pca` the width is not known here, and nothing is counted.
    """
    if settings.pca is None:
        return 0, 0
    fits = [cell for cell in cross_validation.cells(settings) for _ in range(settings.folds)]
    steps = sum(cell.steps for cell in fits) + settings.steps
    width, triplets = settings.pca, settings.batch_size
    return steps * (2 * 2 * pictures * width**2 + triplets * 3 * 3 * 2 * width), steps * triplets


def _student_rows(name: str, backbone: Backbone, chosen: config.Student, settings: Cost) -> list[dict]:
    images = step_images(chosen)
    flops = training_flops(_at_the_start(backbone, chosen), backbone.picture_size) * images * chosen.steps
    aligned = {"student": name, "stage": "alignment", "basis": "this run", "flops": flops}
    aligned |= {"images": images * chosen.steps}
    before = settings.pretraining[name]
    if before is None:
        return [aligned | {"ratio_to_pretraining": math.nan}]
    return _with_pretraining(aligned, backbone.model, before["picture_size"], before["images"])


def _at_the_start(backbone: Backbone, chosen: config.Student) -> StudentNetwork:
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
    """The rows of an alignment and of its backbone's pre-training, with the ratios of their flops."""
    flops = images * _published_flops(model, size)
    before = {"student": aligned["student"], "stage": "pretraining", "basis": "published", "flops": flops}
    before |= {"images": images, "ratio_to_pretraining": 1.0}
    return [aligned | {"ratio_to_pretraining": aligned["flops"] / flops}, before]


def _published_flops(model: str, size: int) -> int:
    """Operations of a training step for one picture, of the whole network with its classifier as timm builds it."""
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
    """Operations of aten.convolution_backward, for its own arguments with shapes in the place of tensors.

    The gradient of the input costs as much as the forward pass, and so does the gradient of the weight.
    """
    of_input, of_weight, _ = output_mask
    return conv_flop_count(inputs, weight, grad_output, transposed=transposed) * (bool(of_input) + bool(of_weight))
