"""The training loop: fine-tuning a student on the teacher's soft labels."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from alignet import config, devices
from alignet.maths import losses
from alignet.maths.choices import gather_pair_similarities, odd_one_out
from alignet.models import depthwise, frozen
from alignet.models.backbones import autocast
from alignet.student.batches import Batch, Feed
from alignet.student.network import StudentNetwork, trainable


class DecayToInitial:
    """Decoupled decay to the initial weights: theta <- theta - lr * wd * (theta - theta_0).

    It precedes the Adam step. Since that step does not depend on the weights, both together are Eq. 10 of
    docs/method.md.
    Source: the release (wd = 1.0).
    """

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float):
        self.parameters: list[Tensor] = [*parameters]
        self.weight_decay = weight_decay
        self.initial = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        torch._foreach_lerp_(self.parameters, self.initial, lr * self.weight_decay)


class Run:
    """The state of a running fit: everything that a step changes, and thus everything that a checkpoint holds.

    Batches and random numbers need no state, since they follow from the seed and the step.
    """

    def __init__(self, student: StudentNetwork, settings: config.Student, work: str = ""):
        self.student, self.settings, self.work = student, settings, work
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.parameters = trainable(student, settings.frozen_layers)
        self.device = self.parameters[0].device
        self.optimiser = torch.optim.Adam(self.parameters, lr=settings.lr, fused=True)
        self.decay = DecayToInitial(self.parameters, settings.decay_to_initial)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        self.forward: Any = student
        self.initial: Tensor | None = None  # (n, dim) pooled, before any step, where neighbourhoods are to be kept
        if settings.gradient_checkpointing:
            for model in [student.embedder.model, *([student.split.rest] if student.split else [])]:
                model.set_grad_checkpointing(True)
        depthwise.speed_up(student.embedder.model)
        if settings.compile:
            student.compile()
        if devices.count() > 1:
            self.forward = DistributedDataParallel(student)

    def save(self, path: Path) -> None:
        """Write the state to a checkpoint. An interruption leaves the former file whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        state = {name: getattr(self, name).state_dict() for name in ("student", "optimiser", "scaler")}
        state |= {name: getattr(self, name) for name in ("step", "curve", "work")}
        torch.save(state, partial)
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Resume from a checkpoint, unless it belongs to other settings or labels.

        A line on stderr says which is the case. It is not written into the executed notebook, since results of a run
        should not depend on whether it was killed in between.
        """
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["work"] != self.work:
            print(f"{path}: a checkpoint of other settings or labels, starting anew", file=sys.stderr)
            return
        for name in ("student", "optimiser", "scaler"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.curve = state["step"], state["curve"]
        print(f"{path}: resuming from step {self.step}", file=sys.stderr)


def fit(
    student: StudentNetwork,
    feed: Feed,
    held_out: Batch,
    settings: config.Student,
    checkpoint: Path | None = None,
    work: str = "",
) -> pd.DataFrame:
    """Fine-tune the student in place, from its checkpoint if there is one.

    Args: feed: pictures and triplets by step; held_out: triplets to watch, none of them trained on; checkpoint: written
        every checkpoint_every steps; work: says what is being fitted, so that another fit's checkpoint is not used.
    Returns: one row per step, with numbers from before its update: step, lr, loss, agreement (share of the batch's
        triplets on which student and teacher choose the same odd one out), gradient_norm and, every held_out_every
        steps and at the end, held_out_loss and held_out_accuracy.
    Raises: FloatingPointError naming the step at which the loss is not finite, or the held-out loss has diverged.
    """
    with torch.random.fork_rng():
        run = Run(student, settings, work)
        if settings.keep_neighbours:
            run.initial = _initial(run, feed)
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
    """Make one step of the decay and of Adam.

    A batch in several parts is forwarded twice: first for the head's outputs, since triplets go across parts, and then
    part by part for the gradients. The result is that of the whole batch, with the memory of one part.
    """
    settings, lr = run.settings, learning_rate(run.step, run.settings)
    parts = shown.to(run.device).chunk(settings.batch_parts)
    head = _heads(run, parts)
    outputs = devices.gather(head, len(batch.rows))
    loss, agreement = divergence(outputs[:, : _width(run)], batch, settings)
    if run.initial is not None:
        loss = (1 - settings.keep_neighbours) * loss + settings.keep_neighbours * _strayed(run, outputs, batch)
    if not loss.isfinite():
        raise FloatingPointError(f"the loss is {loss.item()} at step {run.step}: lower the learning rate")
    run.optimiser.param_groups[0]["lr"] = lr
    run.optimiser.zero_grad(set_to_none=True)
    # DistributedDataParallel takes the mean of the gradients over processes; here each holds a part of one sum.
    run.scaler.scale(loss * devices.count()).backward()
    if len(parts) > 1:
        assert head.grad is not None  # the backward pass has just given it
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
    """The `_outputs` of all parts, float32; with several parts a leaf, whose gradient the parts receive later."""
    with autocast(run.settings.precision, run.device.type):
        if len(parts) == 1:
            reseed(run, 0)
            return _outputs(run, *run.forward(parts[0]))
        heads = []
        with torch.no_grad():
            for number, part in enumerate(parts):
                reseed(run, number)
                heads.append(_outputs(run, *run.student(part)))
    return torch.cat(heads).requires_grad_()


def _width(run: Run) -> int:
    """The width of the head's outputs or, without a head, of `pooled`."""
    return run.settings.head_width if run.settings.head_width is not None else run.student.embedder.dim


def _outputs(run: Run, pooled: Tensor, head: Tensor) -> Tensor:
    """The inputs of the loss: the head's outputs, (b, head_width), and beside them `pooled` if neighbourhoods are to be
    kept.
    """
    return head.float() if run.initial is None else torch.cat([head.float(), pooled.float()], dim=1)


@torch.no_grad()
def _initial(run: Run, feed: Feed) -> Tensor:
    """The pooled representation of all pictures before the first step, (n, dim), in evaluation mode."""
    run.student.eval()
    rows = torch.arange(len(feed.paths)).split(256)
    with autocast(run.settings.precision, run.device.type):
        return torch.cat([run.student(feed.show(some).to(run.device))[0].float() for some in rows])


def _strayed(run: Run, outputs: Tensor, batch: Batch) -> Tensor:
    """The distance of the batch's neighbourhoods from those of the initial representation. *(ours)*

    It is Eq. 7 of docs/method.md for the student instead of the teacher; both representations are centred at the
    initial mean.
    """
    assert run.initial is not None
    mean = run.initial.mean(0)
    before, after = run.initial[batch.rows.to(run.device)] - mean, outputs[:, _width(run) :] - mean
    return losses.local(before, after, run.settings.neighbour_temperature)


def reseed(run: Run, part: int) -> None:
    """Seed dropout and stochastic depth, where a backbone has them, by the seed, step, process and part of the batch.

    A resumed run then draws the numbers of an uninterrupted one, and both forward passes of a part draw the same
    numbers.
    """
    numbers = np.random.SeedSequence((run.settings.seed, run.step, devices.rank(), part)).generate_state(1, np.uint64)
    torch.manual_seed(int(numbers[0] >> 1))


def _backward_by_part(run: Run, parts: tuple[Tensor, ...], gradient: Tensor) -> None:
    gradients = gradient.split([len(part) for part in parts])
    for number, (part, of_head) in enumerate(zip(parts, gradients, strict=True)):
        last = number == len(parts) - 1
        reseed(run, number)
        with nullcontext() if last or devices.count() == 1 else run.forward.no_sync():
            with autocast(run.settings.precision, run.device.type):
                head = _outputs(run, *run.forward(part))
            head.backward(of_head)


def divergence(head: Tensor, batch: Batch, settings: config.Student) -> tuple[Tensor, Tensor]:
    """Mean loss of a batch, and the share of its triplets on which student and teacher choose alike.

    The losses compare softmax(teacher similarities / teacher_temperature) with softmax(student similarities /
    temperature) on the triplets, each kind of which has an equal share. The loss 'rows' compares all pairs of pictures;
    where the batch knows the teacher's similarities of triplets only, as for held-out triplets, it is replaced by 'kl'.

    Args: head: (b, head_width), a row for each picture in batch.rows.
    Returns: two scalars: the loss in nats, and the share in [0, 1].

    Example:

    >>> import torch
    >>> from types import SimpleNamespace
    >>> from alignet.student.batches import Batch
    >>> from alignet.student.training import divergence
    >>> head = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])  # pictures 0 and 1 are alike
    >>> batch = Batch(torch.arange(3), torch.tensor([[0, 1, 2]]), torch.tensor([[0.0, 0.0, 2.0]]))
    >>> settings = SimpleNamespace(similarity="dot", temperature=1.0, teacher_temperature=1.0, loss="kl")
    >>> loss, agreement = divergence(head, batch, settings)  # the teacher chooses alike and is surer
    >>> round(loss.item(), 4), agreement.item()
    (0.0989, 1.0)
    """
    if settings.similarity == "cosine":
        head = F.normalize(head, dim=1)
    student, triplets = head @ head.T / settings.temperature, batch.triplets.to(head.device)
    logits, labels = gather_pair_similarities(student, triplets), batch.similarities.to(head.device)
    taught = odd_one_out(labels)
    agreement = ((odd_one_out(logits.detach()) == taught) & (taught >= 0)).float().mean()
    if settings.loss == "rows" and batch.pairs is not None:
        return losses.rows(student, batch.pairs.to(head.device) / settings.teacher_temperature), agreement
    loss = losses.kl if settings.loss == "rows" else losses.BY_NAME[settings.loss]
    targets = (labels / settings.teacher_temperature).softmax(-1)
    kinds = list(batch.kinds or (len(triplets),))
    parts = zip(logits.split(kinds), targets.split(kinds), strict=True)
    return torch.stack([loss(*part) for part in parts]).mean(), agreement


@torch.no_grad()
def _watch(run: Run, feed: Feed, held_out: Batch) -> dict[str, float]:
    """Loss and accuracy (agreement with the teacher's choices) on held-out triplets, at steps at which they are due.

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


def diverged(held_out_losses: list[float], settings: config.Student) -> bool:
    """Whether a fit has diverged: its last stop_watches held-out losses are large, and the newest is not below the
    oldest of them.

    A loss is large if it is more than stop_above times the first one and more than stop_margin nats above it, since a
    loss that starts near 0 may double by chance.
    """
    first, latest = held_out_losses[0], held_out_losses[-settings.stop_watches :]
    large = max(settings.stop_above * first, first + settings.stop_margin)
    return len(latest) == settings.stop_watches and min(latest) > large and latest[-1] >= latest[0]


def _progress(run: Run) -> tqdm:
    label, silent = str(run.device), devices.rank() > 0
    return tqdm(initial=run.step, total=run.settings.steps, desc=label, unit="step", mininterval=2, disable=silent)


def _report(progress: tqdm, run: Run, batch: Batch) -> None:
    """Show the newest numbers behind the progress bar."""
    rate = progress.format_dict["rate"] or 0.0
    watched = [row["held_out_accuracy"] for row in run.curve if "held_out_accuracy" in row]
    shown = {"loss": f"{run.curve[-1]['loss']:.4f}", "held_out": f"{watched[-1]:.2f}" if watched else "-"}
    shown |= {"pictures/s": f"{rate * len(batch.rows):.0f}", "triplets/s": f"{rate * len(batch.triplets):.0f}"}
    progress.set_postfix(shown, refresh=False)
    progress.update()


def learning_rate(step: int, settings: config.Student) -> float:
    """Linear warm-up to settings.lr over warmup_steps, then a cosine to 0 at `steps`.

    Example:

    >>> from types import SimpleNamespace
    >>> from alignet.student.training import learning_rate
    >>> settings = SimpleNamespace(lr=0.1, warmup_steps=2, steps=10)
    >>> [round(learning_rate(step, settings), 4) for step in (0, 1, 2, 6, 10)]
    [0.05, 0.1, 0.1, 0.05, 0.0]
    """
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(1, settings.steps - settings.warmup_steps)
    return settings.lr * 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))
