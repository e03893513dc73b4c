"""Students: fine-tuning a backbone on the teacher's soft labels.

Several devices: torchrun --nproc-per-node N -m alignet.student --name NAME --target TARGET
"""

import argparse
import dataclasses
import hashlib
import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from alignet import backbones, config, depthwise, devices, frozen, losses, release
from alignet.backbones import Embedder, autocast
from alignet.batches import Batch, Feed, FromFile, InBatch, batch_of
from alignet.config import Backbone
from alignet.config import Student as Settings
from alignet.frozen import Split
from alignet.triplets import choices, gather_pair_similarities
from alignet.worlds import pictures, tables
from alignet.worlds.tables import World, save_csv

PIECE = 4096  # bytes of a file that are looked at together


class Student(nn.Module):
    """A backbone and a linear triplet head on its pooled pre-logits.

    forward: pictures (batch, 3, size, size) uint8, or what `split.before` gave for them -> pooled (batch, dim), head
    (batch, head_width).
    Source: the release (1,024 outputs on the pre-logits).
    """

    split: Split | None = None  # no submodule: it shares the embedder's

    def __init__(self, embedder: Embedder, head_width: int, generator: torch.Generator):
        super().__init__()
        depthwise.speed_up(embedder.model)
        self.embedder = embedder
        self.triplet_head = nn.utils.skip_init(nn.Linear, embedder.dim, head_width)
        nn.init.normal_(self.triplet_head.weight, std=embedder.dim**-0.5, generator=generator)
        nn.init.zeros_(self.triplet_head.bias)

    def forward(self, shown: Tensor) -> tuple[Tensor, Tensor]:
        whole = self.split is None or shown.dtype == torch.uint8
        pooled = self.embedder(shown) if whole else self.split.after(shown)
        return pooled, self.triplet_head(pooled)

    def train(self, mode: bool = True) -> "Student":
        if self.split is not None:
            self.split.rest.train(mode)
        return super().train(mode)


class DecayToInitial:
    """Decoupled decay to the initial weights: theta <- theta - lr * wd * (theta - theta_0).

    Before the Adam step, which does not see the weights: in all theta - lr * (adam_step + wd * (theta - theta_0)).
    Source: the release (wd = 1.0).
    """

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float):
        self.parameters, self.weight_decay = parameters, weight_decay
        self.initial = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        torch._foreach_lerp_(self.parameters, self.initial, lr * self.weight_decay)


class Run:
    """A fit under way: all that a step changes, which is all that a checkpoint holds.

    Batches and random numbers need no state of their own: each step's come from the seed and the step.
    """

    def __init__(self, student: Student, settings: Settings, work: str = ""):
        self.student, self.settings, self.work = student, settings, work
        self.step, self.curve = 0, []
        self.parameters = trainable(student, settings.frozen_layers)
        self.device = self.parameters[0].device
        self.optimiser = torch.optim.Adam(self.parameters, lr=settings.lr, fused=True)
        self.decay = DecayToInitial(self.parameters, settings.decay_to_initial)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.forward = student
        if settings.gradient_checkpointing:
            for model in [student.embedder.model, *([student.split.rest] if student.split else [])]:
                model.set_grad_checkpointing(True)
        if settings.compile:
            student.compile()
        if devices.count() > 1:
            self.forward = DistributedDataParallel(student)

    def save(self, path: Path) -> None:
        """Write all state, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        state = {name: getattr(self, name).state_dict() for name in ("student", "optimiser", "scaler")}
        state |= {name: getattr(self, name) for name in ("step", "curve", "work")}
        torch.save(state, partial)
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same work; one of other settings or labels is left alone, with a line."""
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["work"] != self.work:
            print(f"{path}: a checkpoint of other settings or labels, starting anew")
            return
        for name in ("student", "optimiser", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.curve = state["step"], state["curve"]
        print(f"{path}: going on from step {self.step}")


def fit(
    student: Student, feed: Feed, held_out: Batch, settings: Settings, checkpoint: Path | None = None, work: str = ""
) -> pd.DataFrame:
    """Fine-tune the student in place, from its checkpoint if there is one.

    Args: feed: pictures and triplets by step; held_out: triplets to watch, none of them trained on; checkpoint: written
        every checkpoint_every steps; work: says what is being fitted, so that another fit's checkpoint is not used.
    Returns: one row per step: step, lr, loss, agreement (share of the batch's triplets on which student and teacher
        pick the same odd one out), gradient_norm and, every held_out_every steps and at the end, held_out_loss and
        held_out_accuracy, all before the step's update.
    Raises: FloatingPointError naming the step where the loss is no number, or where the held-out loss has diverged.
    """
    with torch.random.fork_rng():
        run = Run(student, settings, work)
        if checkpoint is not None:
            run.resume(checkpoint)
        frozen.train_mode(student, settings.frozen_batch_norm)
        with _progress(run) as progress:
            for shown, batch in feed.steps(run.step, settings.steps):
                watched = _watch(run, feed, held_out)
                run.curve.append(watched | _update(run, shown, batch))
                run.step += 1
                _report(progress, run, batch)
                if checkpoint is not None and run.step % settings.checkpoint_every == 0 and devices.rank() == 0:
                    run.save(checkpoint)
        run.curve.append({"step": run.step} | _watch(run, feed, held_out))
    student.eval()
    return pd.DataFrame(run.curve)


def _update(run: Run, shown: Tensor, batch: Batch) -> dict[str, float]:
    """One step of the decay and of Adam.

    A batch in several parts is forwarded twice: for the head's outputs, whose triplets go across parts, and once more,
    part by part, for the gradients; the result is that of the whole batch, the memory that of a part.
    """
    settings, lr = run.settings, learning_rate(run.step, run.settings)
    parts = shown.to(run.device).chunk(settings.batch_parts)
    head = _heads(run, parts)
    loss, agreement = divergence(devices.gather(head, len(batch.rows)), batch, settings)
    if not loss.isfinite():
        raise FloatingPointError(f"the loss is {loss.item()} at step {run.step}: lower the learning rate")
    run.optimiser.param_groups[0]["lr"] = lr
    run.optimiser.zero_grad(set_to_none=True)
    # DistributedDataParallel takes the mean of the gradients over processes; here each holds a part of one sum.
    run.scaler.scale(loss * devices.count()).backward()
    if len(parts) > 1:
        _backward_by_part(run, parts, head.grad)
    run.scaler.unscale_(run.optimiser)
    limit = settings.clip_gradient if settings.clip_gradient is not None else torch.inf
    norm = nn.utils.clip_grad_norm_(run.parameters, limit)
    run.decay.step(lr)
    run.scaler.step(run.optimiser)
    run.scaler.update()
    scores = {"loss": loss.item(), "agreement": agreement.item(), "gradient_norm": norm.item()}
    return {"step": run.step, "lr": lr} | scores


def _heads(run: Run, parts: tuple[Tensor, ...]) -> Tensor:
    """Outputs of the head, (b, head_width) float32; with several parts, a leaf whose gradient is to be handed on."""
    with autocast(run.settings.precision, run.device.type):
        if len(parts) == 1:
            reseed(run, 0)
            return run.forward(parts[0])[1].float()
        heads = []
        with torch.no_grad():
            for number, part in enumerate(parts):
                reseed(run, number)
                heads.append(run.student(part)[1].float())
    return torch.cat(heads).requires_grad_()


def reseed(run: Run, part: int) -> None:
    """Dropout and stochastic depth, where a backbone has them, from the seed, step, process and part of the batch
    alone: a resumed run draws what it would have drawn, and both forward passes of a part draw the same."""
    numbers = np.random.SeedSequence((run.settings.seed, run.step, devices.rank(), part)).generate_state(1, np.uint64)
    torch.manual_seed(int(numbers[0] >> 1))


def _backward_by_part(run: Run, parts: tuple[Tensor, ...], gradient: Tensor) -> None:
    gradients = gradient.split([len(part) for part in parts])
    for number, (part, of_head) in enumerate(zip(parts, gradients, strict=True)):
        last = number == len(parts) - 1
        reseed(run, number)
        with nullcontext() if last or devices.count() == 1 else run.forward.no_sync():
            with autocast(run.settings.precision, run.device.type):
                head = run.forward(part)[1].float()
            head.backward(of_head)


def divergence(head: Tensor, batch: Batch, settings: Settings) -> tuple[Tensor, Tensor]:
    """Mean loss of a batch's triplets, and the share of them on which student and teacher choose alike.

    The losses compare softmax(teacher similarities / tau_teacher) with softmax(student dot products / tau).
    Args: head: (b, head_width), row by row the pictures of batch.rows.
    """
    triplets, labels = batch.triplets.to(head.device), batch.similarities.to(head.device)
    logits = gather_pair_similarities(head @ head.T / settings.temperature, triplets)
    taught = choices(labels)
    agreement = ((choices(logits.detach()) == taught) & (taught >= 0)).float().mean()
    targets = (labels / settings.teacher_temperature).softmax(-1)
    return losses.BY_NAME[settings.loss](logits, targets), agreement


@torch.no_grad()
def _watch(run: Run, feed: Feed, held_out: Batch) -> dict[str, float]:
    """Loss and accuracy (agreement with the teacher's choices) on held-out triplets, in the steps that are due.

    Raises: FloatingPointError if the loss has `diverged`.
    """
    settings = run.settings
    if devices.rank() > 0 or (run.step % settings.held_out_every and run.step < settings.steps):
        return {}
    run.student.eval()
    with autocast(settings.precision, run.device.type):
        heads = [run.student(shown.to(run.device))[1].float() for shown in feed.watched(held_out.rows, 64)]
    frozen.train_mode(run.student, settings.frozen_batch_norm)
    loss, agreement = divergence(torch.cat(heads), held_out, settings)
    watched = [row["held_out_loss"] for row in run.curve if "held_out_loss" in row] + [loss.item()]
    if diverged(watched, settings):
        raise FloatingPointError(
            f"the held-out loss rose from {watched[0]:.3g} to {loss:.3g} by step {run.step}: lower the learning rate"
        )
    return {"held_out_loss": loss.item(), "held_out_accuracy": agreement.item()}


def diverged(held_out_losses: list[float], settings: Settings) -> bool:
    """Whether a fit is lost: its last stop_watches held-out losses are all large, and the newest is no lower than the
    oldest of them. Large: more than stop_above times the first one and more than stop_margin nats above it, since a
    loss that starts near 0 may double by chance."""
    first, latest = held_out_losses[0], held_out_losses[-settings.stop_watches :]
    large = max(settings.stop_above * first, first + settings.stop_margin)
    return len(latest) == settings.stop_watches and min(latest) > large and latest[-1] >= latest[0]


def _progress(run: Run) -> tqdm:
    label, silent = str(run.device), devices.rank() > 0
    return tqdm(initial=run.step, total=run.settings.steps, desc=label, unit="step", mininterval=2, disable=silent)


def _report(progress: tqdm, run: Run, batch: Batch) -> None:
    """The newest numbers behind the progress bar."""
    rate = progress.format_dict["rate"] or 0.0
    watched = [row["held_out_accuracy"] for row in run.curve if "held_out_accuracy" in row]
    shown = {"loss": f"{run.curve[-1]['loss']:.4f}", "held_out": f"{watched[-1]:.2f}" if watched else "-"}
    shown |= {"pictures/s": f"{rate * len(batch.rows):.0f}", "triplets/s": f"{rate * len(batch.triplets):.0f}"}
    progress.set_postfix(shown, refresh=False)
    progress.update()


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up to settings.lr over warmup_steps, then a cosine to 0 at `steps`."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.lr * 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))


def trainable(student: Student, frozen_layers: list[str]) -> list[nn.Parameter]:
    """The parameters to train, after freezing the named submodules of the backbone."""
    frozen.freeze(student.embedder.model, frozen_layers)
    return [parameter for parameter in student.parameters() if parameter.requires_grad]


def create(backbone: Backbone, settings: Settings) -> Student:
    """A student at the start: the backbone's weights and a random head."""
    return Student(backbones.create(backbone), settings.head_width, torch.Generator().manual_seed(settings.seed))


def split(student: Student, settings: Settings, size: int) -> Split | None:
    """Freeze what the settings freeze, and cut the student behind it; None where nothing can be cut off.

    Args: size: of the pictures, pixels.
    """
    student.split = frozen.of_student(student.embedder, settings, size)
    return student.split


@dataclass(frozen=True)
class Job:
    """Which student to fit: names of params.yaml's `students` and `run.targets`, where, and what to override."""

    name: str
    target: str
    params_file: str
    out_dir: str
    lr: float | None = None
    steps: int | None = None

    def settings(self) -> Settings:
        return config.load(f"students.{self.name}", Settings, self.params_file, lr=self.lr, steps=self.steps)


def run(job: Job) -> pd.DataFrame:
    """Fit and save a student, in this process or, with students.<name>.devices > 1, in that many; its curve."""
    count = job.settings().devices
    if count > 1:
        values = {name: value for name, value in vars(job).items() if value is not None}
        devices.launch("alignet.student", [f"--{name}={value}" for name, value in values.items()], count)
    else:
        train(job)
    return pd.read_csv(config.folders(job.out_dir)[0] / "students" / job.name / job.target / "curve.csv")


def train(job: Job) -> None:
    """Fit and save a student in the processes that are there; the first one saves.

    A checkpoint under data/checkpoints/ lets a run that was killed go on; it is removed at the end.
    """
    settings, data = job.settings(), config.folders(job.out_dir)[0]
    backbone = config.load(f"backbones.{job.name}", Backbone, job.params_file)
    reading = config.load("features", config.Features, job.params_file)
    world, labels = tables.read(data / "world"), data / "synthesis" / job.target
    student = create(backbone, settings).to(devices.local())
    part, size = split(student, settings, backbone.picture_size), backbone.picture_size
    paths = {rows: world.paths(world.rows(rows)) for rows in ("synthesis", "test")}
    outputs = dict.fromkeys(paths)
    if part is not None:
        store = data / frozen.FOLDER
        outputs = {rows: frozen.outputs(part, paths[rows], size, settings.precision, reading, store) for rows in paths}
    source = load_source(labels, world, settings)
    feed = Feed(source, paths["synthesis"], size, reading.workers, reading.cache_bytes, outputs["synthesis"])
    checkpoint = data / "checkpoints" / job.name / f"{job.target}.pt"
    work = _work(labels, settings, backbone)
    curve = fit(student, feed, load_held_out(labels, world, settings), settings, checkpoint, work)
    if devices.rank() == 0:
        test = pictures.batches(paths["test"], size, reading.batch_size, reading.workers)
        if outputs["test"] is not None:
            test = outputs["test"].split(reading.batch_size)
        names = {"student": job.name, "target": job.target}
        save(data / "students" / job.name / job.target, student, curve.assign(**names), test, settings)
        checkpoint.unlink(missing_ok=True)


def load_labels(folder: Path, world: World) -> tuple[np.ndarray, np.ndarray]:
    """A target's representation (n, p), memory-mapped, and clusters (n,) of the synthesis split's pictures.

    Raises: ValueError if they are of another number of pictures.
    """
    representation = np.load(folder / "representation.npy", mmap_mode="r")
    clusters = np.load(folder / "clusters.npy")
    if not len(clusters) == len(representation) == len(world.rows("synthesis")):
        raise ValueError(
            f"{folder}: labels {len(representation)} pictures, the world has {len(world.rows('synthesis'))}"
        )
    return representation, clusters


def load_source(folder: Path, world: World, settings: Settings) -> InBatch | FromFile:
    """Where a student's triplets come from: a target's clusters, or its release file of training triplets."""
    if settings.source == "file":
        return FromFile(*_release_triplets(folder / f"train_{settings.file_scheme}.npz", world), settings)
    return InBatch(*load_labels(folder, world), settings)


def load_held_out(folder: Path, world: World, settings: Settings) -> Batch:
    """The first held_out_triplets triplets of a target's release file of validation triplets."""
    triplets, similarities = _release_triplets(folder / f"valid_{settings.file_scheme}.npz", world)
    return batch_of(triplets, similarities, np.arange(min(settings.held_out_triplets, len(triplets))))


def _release_triplets(path: Path, world: World) -> tuple[np.ndarray, np.ndarray]:
    """A file's triplets as positions in the synthesis split, by file name, and their similarities, (n, 3) each."""
    found = release.read(path)
    names = world.images["path"].to_numpy()[world.rows("synthesis")]
    return release.locate(found, names), np.asarray(found.similarities)  # mapped still, or all of a streamed one


def _work(labels: Path, settings: Settings, backbone: Backbone) -> str:
    """A digest of what decides a student: its settings, its backbone and its labels (of large files 256 pieces)."""
    digest = hashlib.sha256(repr((dataclasses.asdict(settings), dataclasses.asdict(backbone))).encode())
    for path in sorted(labels.glob("*.np[yz]")):
        content = np.memmap(path, np.uint8, "r")
        digest.update(f"{path.name} {len(content)}".encode())
        for start in np.linspace(0, max(0, len(content) - PIECE), 256).astype(int):
            digest.update(content[start : start + PIECE])
    return digest.hexdigest()


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
    device = next(student.parameters()).device
    for shown in tqdm(batches, desc="test pictures", unit="batch", mininterval=2):
        with autocast(precision, device.type):
            rows = student(shown.to(device))
        pooled.append(rows[0].float().cpu())
        head.append(rows[1].float().cpu())
    return torch.cat(pooled), torch.cat(head)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m alignet.student", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--params_file", default="params.yaml")
    parser.add_argument("--out_dir", default=".")
    parser.add_argument("--lr", type=float)
    parser.add_argument("--steps", type=int)
    with devices.process_group():
        train(Job(**vars(parser.parse_args(arguments))))


if __name__ == "__main__":
    main()
