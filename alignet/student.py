"""Students: fine-tuning a backbone on the teacher's soft labels, with all triplets of a batch from one forward pass."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from tqdm import tqdm

from alignet import backbones, losses
from alignet.backbones import Embedder, autocast
from alignet.config import Backbone
from alignet.config import Student as Settings
from alignet.triplets import choices, gather_pair_similarities, in_batch_triplets
from alignet.worlds.tables import World, save_csv


class Student(nn.Module):
    """A backbone and a linear triplet head on its pooled pre-logits.

    forward: (batch, 3, size, size) uint8 -> pooled (batch, dim), head (batch, head_width).
    Source: the release (1,024 outputs on the pre-logits).
    """

    def __init__(self, embedder: Embedder, head_width: int, generator: torch.Generator):
        super().__init__()
        self.embedder = embedder
        self.triplet_head = nn.utils.skip_init(nn.Linear, embedder.dim, head_width)
        nn.init.normal_(self.triplet_head.weight, std=embedder.dim**-0.5, generator=generator)
        nn.init.zeros_(self.triplet_head.bias)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.embedder(pictures)
        return pooled, self.triplet_head(pooled)


class DecayToInitial:
    """Decoupled decay to the initial weights: theta <- theta - lr * wd * (theta - theta_0), after the Adam step.

    Source: the release (wd = 1.0).
    """

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float):
        self.parameters, self.weight_decay = parameters, weight_decay
        self.initial = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        torch._foreach_lerp_(self.parameters, self.initial, lr * self.weight_decay)


def fit(student: Student, pictures: Tensor, teacher: Tensor, clusters: Tensor, settings: Settings) -> pd.DataFrame:
    """Fine-tune the student in place on in-batch triplets. *(ours: one forward pass per picture, not per triplet)*

    A batch is P clusters x K pictures; its B x B matrix of dot products scores every cluster-border triplet in it.
    Loss: divergence of softmax(teacher similarities) and softmax(student dot products / tau).

    Args: pictures: (n, 3, size, size) uint8; teacher: (n, p) representation whose dot products are the labels'
        logits; clusters: (n,) of the teacher's representation.
    Returns: one row per step: step, lr, loss, agreement (share of the batch's triplets on which student and
        teacher pick the same odd one out, before the step).
    Raises: ValueError if fewer than P clusters have K pictures; FloatingPointError naming the step at a NaN loss.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    sampler = _BatchSampler(clusters, settings, generator)
    triplets = in_batch_triplets(settings.batch_clusters, settings.batch_pictures)
    parameters = trainable(student, settings.frozen_layers)
    optimiser = torch.optim.Adam(parameters, lr=settings.lr, fused=True)
    decay = DecayToInitial(parameters, settings.decay_to_initial)
    curve = []
    train_mode(student, settings.frozen_batch_norm)
    with tqdm(range(settings.steps), unit="step", mininterval=2) as progress:
        for step in progress:
            batch = sampler.draw()
            optimiser.param_groups[0]["lr"] = lr = learning_rate(step, settings)
            loss, agreement = _divergence(student, pictures[batch], teacher[batch], triplets, settings)
            if not loss.isfinite():
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}: lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            decay.step(lr)
            curve.append({"step": step, "lr": lr, "loss": loss.item(), "agreement": agreement.item()})
            progress.set_postfix(loss=f"{loss.item():.4f}", agreement=f"{agreement:.2f}", refresh=False)
    student.eval()
    return pd.DataFrame(curve)


def _divergence(student, pictures, teacher, triplets, settings: Settings) -> tuple[Tensor, Tensor]:
    """Mean loss of a batch's triplets, and the share of them on which student and teacher choose alike."""
    labels = gather_pair_similarities(teacher @ teacher.T, triplets)
    with autocast(settings.precision):
        head = student(pictures)[1].float()
    logits = gather_pair_similarities(head @ head.T / settings.temperature, triplets)
    taught = choices(labels)
    agreement = ((choices(logits.detach()) == taught) & (taught >= 0)).float().mean()
    return losses.BY_NAME[settings.loss](logits, labels.softmax(-1)), agreement


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up to settings.lr over warmup_steps, then a cosine to 0 at `steps`."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.lr * 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))


def trainable(student: Student, frozen_layers: list[str]) -> list[nn.Parameter]:
    """The parameters to train, after freezing the named submodules of the backbone."""
    for name in frozen_layers:
        student.embedder.model.get_submodule(name).requires_grad_(False)
    return [parameter for parameter in student.parameters() if parameter.requires_grad]


def train_mode(student: Student, frozen_batch_norm: bool) -> None:
    """Training mode; with frozen statistics batch-norm layers keep using, and do not update, their running ones."""
    student.train()
    for module in student.modules():
        if frozen_batch_norm and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def create(backbone: Backbone, settings: Settings) -> Student:
    """A student at the start: the backbone's weights and a random head."""
    return Student(backbones.create(backbone), settings.head_width, torch.Generator().manual_seed(settings.seed))


def load_labels(folder: Path, world: World) -> tuple[Tensor, Tensor]:
    """A target's representation (n, p) and clusters (n,) of the synthesis split's pictures.

    Raises: ValueError if they are of another number of pictures.
    """
    representation, clusters = (
        torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("representation", "clusters")
    )
    if len(representation) != len(world.rows("synthesis")):
        raise ValueError(
            f"{folder}: labels {len(representation)} pictures, the world has {len(world.rows('synthesis'))}"
        )
    return representation, clusters


def save(folder: Path, student: Student, curve: pd.DataFrame, test: Iterable[Tensor], settings: Settings) -> None:
    """Write the checkpoint, the training curve and the test pictures' representations.

    student.safetensors: embedder.model.* (timm's names) and triplet_head.*; curve.csv; pooled.npy (n, dim) and
    head.npy (n, head_width), in the order of the world's test split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pooled, head = represent(student, test, settings.precision)
    save_model(student, str(folder / "student.safetensors"))
    save_csv(curve, folder / "curve.csv")
    np.save(folder / "pooled.npy", pooled.numpy())
    np.save(folder / "head.npy", head.numpy())


@torch.inference_mode()
def represent(student: Student, batches: Iterable[Tensor], precision: str) -> tuple[Tensor, Tensor]:
    """Pooled pre-logits (n, dim) and head outputs (n, head_width) of all pictures, float32."""
    student.eval()
    pooled, head = [], []
    for pictures in tqdm(batches, desc="test pictures", unit="batch", mininterval=2):
        with autocast(precision):
            rows = student(pictures)
        pooled.append(rows[0].float())
        head.append(rows[1].float())
    return torch.cat(pooled), torch.cat(head)


class _BatchSampler:
    """Draws P clusters, then K different pictures of each."""

    def __init__(self, clusters: Tensor, settings: Settings, generator: torch.Generator):
        members = [torch.nonzero(clusters == label).flatten() for label in clusters.unique()]
        self.members = [rows for rows in members if len(rows) >= settings.batch_pictures]
        self.settings, self.generator = settings, generator
        if len(self.members) < settings.batch_clusters:
            raise ValueError(
                f"a batch needs {settings.batch_clusters} clusters of {settings.batch_pictures} pictures, "
                f"and only {len(self.members)} clusters are that large: lower batch_clusters or batch_pictures"
            )

    def draw(self) -> Tensor:
        """Picture numbers, (P * K,), cluster by cluster, as `in_batch_triplets` numbers them."""
        chosen = torch.randperm(len(self.members), generator=self.generator)[: self.settings.batch_clusters]
        return torch.cat([self._some(self.members[cluster]) for cluster in chosen])

    def _some(self, rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=self.generator)[: self.settings.batch_pictures]]
