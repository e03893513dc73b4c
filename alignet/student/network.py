"""The student network: a backbone with a linear triplet head, and the part of it that fine-tuning leaves as it is."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from tqdm import tqdm

from alignet import config
from alignet.config import Backbone
from alignet.models import backbones, frozen
from alignet.models.backbones import Embedder, autocast
from alignet.models.frozen import Split


class StudentNetwork(nn.Module):
    """A backbone and a linear triplet head on its pooled pre-logits.

    forward takes pictures, (batch, 3, size, size) uint8, or the outputs of `split.before` for them. It returns pooled,
    (batch, dim), and head, (batch, head_width), which is `pooled` again if head_width is None.
    Source: the release (1,024 outputs on the pre-logits); without a head: ours.
    """

    split: Split | None = None  # no submodule: it shares the embedder's

    def __init__(self, embedder: Embedder, head_width: int | None, generator: torch.Generator):
        super().__init__()
        self.embedder = embedder
        self.triplet_head: nn.Module = nn.Identity()
        if head_width is not None:
            self.triplet_head = linear = nn.utils.skip_init(nn.Linear, embedder.dim, head_width)
            nn.init.normal_(linear.weight, std=embedder.dim**-0.5, generator=generator)
            nn.init.zeros_(linear.bias)

    def forward(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        on = self.embedder if self.split is None or shown.dtype == torch.uint8 else self.split.after
        pooled = on(shown)
        return pooled, self.triplet_head(pooled)

    def train(self, mode: bool = True) -> "StudentNetwork":
        if self.split is not None:
            self.split.rest.train(mode)
        return super().train(mode)


def trainable(student: StudentNetwork, frozen_layers: list[str]) -> list[nn.Parameter]:
    """Freeze the named submodules of the backbone, and return the parameters to train."""
    frozen.freeze(student.embedder.model, frozen_layers)
    return [parameter for parameter in student.parameters() if parameter.requires_grad]


def create(backbone: Backbone, settings: config.Student) -> StudentNetwork:
    """A student before training, with the backbone's weights and a random head."""
    return StudentNetwork(backbones.create(backbone), settings.head_width, torch.Generator().manual_seed(settings.seed))


def split(student: StudentNetwork, settings: config.Student, size: int) -> Split | None:
    """Freeze the submodules that the settings name, and cut the student behind them.

    Args: size: of the pictures, in pixels.
    Returns: None where nothing can be cut off.
    """
    student.split = frozen.of_student(student.embedder, settings, size)
    return student.split


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors by name, each contiguous and in memory of its own, as safetensors needs them.

    A tensor that two names share (such as CoaT's position encodings) is copied, so that every reader finds all names.
    """
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in module.state_dict().items():
        own = tensor.detach().contiguous()
        shared = own.untyped_storage().data_ptr() in places
        tensors[name] = own.clone() if shared else own
        places.add(own.untyped_storage().data_ptr())
    return tensors


@torch.inference_mode()
def represent(student: StudentNetwork, batches: Iterable[Tensor], precision: str) -> tuple[Tensor, Tensor]:
    """Pooled pre-logits (n, dim) and head outputs (n, head_width) of all pictures, float32."""
    student.eval()
    pooled, head = [], []
    device = next(student.parameters()).device
    for shown in tqdm(batches, desc="scored pictures", unit="batch", mininterval=2):
        with autocast(precision, device.type):
            rows = student(shown.to(device))
        pooled.append(rows[0].float().cpu())
        head.append(rows[1].float().cpu())
    return torch.cat(pooled), torch.cat(head)
