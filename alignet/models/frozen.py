"""The frozen part of a backbone: its first layers, which fine-tuning does not change, and their stored outputs.

Pictures are not augmented, so the frozen part of a student has the same output for a picture at every step, before and
after fine-tuning. It is therefore run once for each picture, and the rest of the student reads the stored output.
"""

import copy
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from alignet import devices
from alignet.config import Features, Student
from alignet.models import layers
from alignet.models.backbones import Embedder, autocast
from alignet.worlds.format import pictures

FOLDER = "frozen"  # of data/: stored outputs of frozen parts
# Errors that a network raises if it is cut at a place where it cannot be cut.
CUT_WRONGLY = (RuntimeError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True)
class Split:
    """A backbone in two parts.

    embedder: the whole backbone; layer: the submodule whose output ends the frozen part; skipped: names of the
    outermost submodules that make up the frozen part; rest: the backbone from there on, which shares its submodules and
    parameters with the whole one.
    """

    embedder: Embedder
    layer: str
    skipped: tuple[str, ...]
    rest: nn.Module

    def before(self, pictures: Tensor) -> Tensor:
        """The output of `layer`, (batch, ...), for pictures (batch, 3, size, size) uint8."""
        return self.embedder.output_of(self.layer, pictures)

    def after(self, activations: Tensor) -> Tensor:
        """Pooled pre-logits, (batch, dim), from the output of `before`: those of `embedder` for the pictures."""
        if activations.ndim == 4:
            activations = activations.contiguous(memory_format=torch.channels_last)
        return self.rest(activations)


@torch.inference_mode(False)
@torch.no_grad()
def outputs(
    split: Split, paths: list[Path], size: int, precision: str, settings: Features, folder: Path
) -> Tensor | None:
    """The frozen part's output for every picture, (n, ...) on the CPU; None if all of them take more than cache_bytes.

    The outputs are stored in `folder` under a digest of all that decides them, where other targets, stages and runs
    find them. If the files there take more than cache_bytes, the oldest are deleted; all may be deleted at any time.

    Args: paths: of the pictures; size: in pixels; precision: as for `backbones.autocast`.
    Raises: WorldError naming the first picture that cannot be read.
    """
    device = split.embedder.mean.device

    def run(shown: Tensor) -> Tensor:
        with autocast(precision, device.type):
            return split.before(shown.to(device)).cpu()

    first = run(pictures.stack(paths[:1], size, 0))
    if len(paths) * first.nbytes > settings.cache_bytes:
        return None
    file = folder / f"{_digest(split, paths, size, precision)}.safetensors"
    if not file.is_file() and devices.rank() == 0:
        shown = pictures.batches(paths, size, settings.batch_size, settings.workers)
        outputs = torch.cat([run(batch) for batch in tqdm(shown, desc="frozen part", unit="batch", mininterval=2)])
        store({"outputs": outputs}, file, settings.cache_bytes)
    devices.wait()
    return load_file(file)["outputs"]


def _digest(split: Split, paths: list[Path], size: int, precision: str) -> str:
    """A fingerprint of all that decides a frozen part's outputs: its weights, how they are used, and the pictures'
    contents.
    """
    embedder = split.embedder
    used = (torch.__version__, str(embedder.mean.device), size, precision, split.layer)
    digest = hashlib.sha256(repr((used, embedder.model, embedder.mean.tolist(), embedder.std.tolist())).encode())
    for name, tensor in embedder.model.state_dict().items():
        if any(name.startswith(f"{skipped}.") for skipped in split.skipped):
            digest.update(name.encode() + tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def share(store: Path, folder: Path) -> None:
    """Make `folder` a store that begins with links to the files of another store, which it never changes.

    What is stored later lies in `folder` itself, and what is deleted there are links.
    """
    if not store.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for link in [link for link in folder.glob("*.safetensors") if link.is_symlink() and not link.exists()]:
        link.unlink(missing_ok=True)
    for file in store.glob("*.safetensors"):
        with suppress(FileExistsError):
            (folder / file.name).symlink_to(os.path.relpath(file.resolve(), folder.resolve()))


def store(outputs: dict[str, Tensor], file: Path, most: int) -> None:
    """Write a file whole or not at all; then delete the oldest files beside it until all take at most `most` bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        save_file({name: tensor.contiguous() for name, tensor in outputs.items()}, partial)
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)
    there = [other for other in file.parent.glob("*.safetensors") if other.exists()]  # not a link to a deleted file
    stored = sorted(there, key=lambda other: other.stat().st_mtime, reverse=True)
    total = 0
    for other in stored:
        total += other.stat().st_size
        if total > most and other != file:
            other.unlink()


class Skipped(nn.Module):
    """A module in the place of a submodule of the frozen part, which returns its first argument."""

    def forward(self, activations: Tensor, *others: object, **named: object) -> Tensor:
        return activations


def of_student(embedder: Embedder, settings: Student, size: int) -> Split | None:
    """Freeze the submodules that a student's settings name, and cut its backbone behind them.

    The backbone is left in the mode in which it is trained.

    Args: size: of the pictures, in pixels.
    Returns: None where nothing can be cut off.
    """
    freeze(embedder.model, settings.frozen_layers)
    train_mode(embedder, settings.frozen_batch_norm)
    return split(embedder, changing_modules(embedder.model, settings.frozen_batch_norm), size)


def freeze(model: nn.Module, layers: list[str]) -> None:
    """Freeze the parameters of the named submodules."""
    for name in layers:
        model.get_submodule(name).requires_grad_(False)


def train_mode(model: nn.Module, frozen_batch_norm: bool) -> None:
    """Put a backbone into training mode; with frozen statistics, batch-norm layers use and never update their running
    ones.
    """
    model.train()
    for module in model.modules():
        if frozen_batch_norm and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def split(embedder: Embedder, changing: set[str], size: int) -> Split | None:
    """The backbone, cut behind the longest run of submodules from its input that fine-tuning does not change.

    The cut is tried on two random pictures: the two parts must give what the whole gives, and the first part must draw
    no random numbers (dropout, stochastic depth) in the mode that the backbone is in.

    Args: changing: names of the submodules whose own parameters or statistics change ('' for the model itself);
        size: of the pictures, pixels.
    Returns: None where nothing comes before the first change, or where this architecture cannot be cut.
    """
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (2, 3, size, size), generator=generator, dtype=torch.uint8)
    pictures = pictures.to(embedder.mean.device)
    with torch.no_grad(), torch.random.fork_rng():
        for layer, skipped in reversed(_candidates(embedder, changing, pictures)):
            tried = Split(embedder, layer, skipped, _without(embedder.model, skipped))
            if _agrees(tried, pictures):
                return tried
    return None


def split_all(embedders: list[Embedder], size: int) -> list[Split] | None:
    """Models of one architecture, each cut behind the first layers that all of them share.

    Returns: None for a single model, or where they share nothing.

    Args: embedders: for instance a student before and after fine-tuning; size: of the pictures, pixels.
    """
    if len(embedders) == 1:
        return None
    first, *others = (embedder.model.state_dict() for embedder in embedders)
    differing = {name for name in first for other in others if not torch.equal(first[name], other[name])}
    common = split(embedders[0], {name.rpartition(".")[0] for name in differing}, size)
    if common is None:
        return None
    rests = [_without(embedder.model, common.skipped) for embedder in embedders]
    pairs = zip(embedders, rests, strict=True)
    return [Split(embedder, common.layer, common.skipped, rest) for embedder, rest in pairs]


def changing_modules(model: nn.Module, frozen_batch_norm: bool) -> set[str]:
    """Names of the submodules that training changes.

    They are the submodules with trainable parameters of their own and, unless their statistics are frozen, batch-norm
    layers.
    """
    names = set()
    for name, module in model.named_modules():
        trained = any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        counts = isinstance(module, nn.modules.batchnorm._BatchNorm) and not frozen_batch_norm
        if trained or counts:
            names.add(name)
    return names


def _candidates(embedder: Embedder, changing: set[str], pictures: Tensor) -> list[tuple[str, tuple[str, ...]]]:
    """The submodules behind which the backbone may be cut, in the order in which they run.

    They have run before the first changing submodule starts. Beside each stand the outermost submodules that have
    started until then and must be skipped.
    """
    started: list[str] = []
    candidates: list[tuple[str, tuple[str, ...]]] = []

    def end(name: str, output: object) -> None:
        if changing.isdisjoint(started) and isinstance(output, Tensor) and _in_sequence(embedder.model, name):
            candidates.append((name, _outermost(started, name)))

    every = [name for name, _ in embedder.model.named_modules()]
    with layers.watched(embedder.model, every, end, started.append), _evaluating(embedder):
        embedder(pictures)
    return candidates


def _in_sequence(model: nn.Module, name: str) -> bool:
    """Whether a submodule is a child of the model or lies in sequences of submodules only, so that no branch bypasses
    it.
    """
    parents = name.split(".")[:-1]
    places = [".".join(parents[: length + 1]) for length in range(len(parents))]
    return name != "" and all(isinstance(model.get_submodule(place), nn.Sequential) for place in places)


def _outermost(started: list[str], layer: str) -> tuple[str, ...]:
    """The started submodules that do not contain `layer` and do not lie inside another started one."""
    parts = layer.split(".")
    ancestors = {".".join(parts[:length]) for length in range(len(parts))}
    done = [name for name in dict.fromkeys(started) if name not in ancestors]
    return tuple(name for name in done if not any(name.startswith(f"{other}.") for other in done))


def _without(model: nn.Module, skipped: tuple[str, ...]) -> nn.Module:
    """A copy of the model that skips some submodules and shares all other submodules and all parameters."""
    copies = {"": _shallow(model)}
    for path in skipped:
        parent, _, last = path.rpartition(".")
        place = ""
        for part in parent.split(".") if parent else []:
            holder, place = copies[place], f"{place}.{part}".removeprefix(".")
            if place not in copies:
                copies[place] = holder._modules[part] = _shallow(holder._modules[part])
        sequence = isinstance(copies[place]._modules[last], nn.Sequential)  # gradient checkpointing goes through those
        copies[place]._modules[last] = nn.Sequential(Skipped()) if sequence else Skipped()
    return copies[""]


def _shallow(module: nn.Module | None) -> nn.Module:
    assert module is not None  # a name that named_modules has given
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin


def _agrees(tried: Split, pictures: Tensor) -> bool:
    """Whether the two parts give the output of the whole, and the first one draws no random number."""
    state = _random_state()
    activations = tried.before(pictures)
    if not torch.equal(state, _random_state()):
        return False
    with _evaluating(tried.embedder), _evaluating(tried.rest):
        whole = tried.embedder(pictures)
        try:
            parts = tried.after(activations)
        except CUT_WRONGLY:
            return False
    return whole.shape == parts.shape and torch.allclose(whole, parts, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))


def _random_state() -> Tensor:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode inside the `with` block, and each submodule into its former mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
