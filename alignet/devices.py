"""Processes and devices: one process on one device, or several that torchrun started (one for each device)."""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from pydantic import TypeAdapter
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


def local() -> torch.device:
    """This process's device: its own GPU if there is one, otherwise the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


@lru_cache
def warn_of_emulation(precision: str, device: str) -> None:
    """Warn once, on stderr, if the processor has no units for a precision, and name the setting to change."""
    if has_units(precision, device):
        return
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or "processor"
    print(
        f"precision {precision}: this {name} has no units for it and takes 4 to 160 times as long as with "
        "float32; set `precision: float32` (features, students.<name>, teacher) in the params file",
        file=sys.stderr,
    )


def has_units(precision: str, device: str) -> bool:
    """Whether a device computes in a precision (float32, bfloat16 or float16) rather than emulating it.

    If torch cannot tell, the answer is yes. On a processor with AVX2 only, EfficientNet-Lite2 ran 13 times, Lite0 160
    times and a small ViT 14 times slower under bfloat16 than under float32 (two cores of an EPYC, torch 2.12).
    """
    if precision == "float32":
        return True
    if device == "cuda":
        return precision == "float16" or torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    units = {"bfloat16": ("avx512_bf16", "amx_bf16", "bf16"), "float16": ("avx512_fp16", "amx_fp16", "fp16_arith")}
    present = any(capabilities.get(unit) for unit in units[precision])
    return present or not any(unit in capabilities for unit in units[precision])


def rank() -> int:
    """This process's number; 0 if it works alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """The number of processes that work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wait() -> None:
    """Wait until all processes have reached this call."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on `count` threads inside the `with` block, and on the former number of threads afterwards.

    One thread is best for small operations: two threads would mostly wait for each other, and far longer if another
    process keeps a core busy (bench/disturbed.py).
    """
    former = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(former)


def each(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield work(item) for all items in their order; as many run at once as there are threads, each on one thread.

    Example:

    >>> from alignet import devices
    >>> list(devices.each(lambda item: item**2, [1, 2, 3]))
    [1, 4, 9]
    """

    def alone(item: Item) -> Result:
        torch.set_num_threads(1)  # for this thread, and for those that start later
        return work(item)

    with threads(torch.get_num_threads()), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield from pool.map(alone, items)


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes that torchrun started (nccl on GPUs, gloo on CPUs); a single process needs nothing."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1 or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local())
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def part(rows: Tensor, rank: int, count: int) -> Tensor:
    """The rows of process `rank` of `count`, (ceil(n / count),); the last row is repeated so that all have equally
    many.

    Example:

    >>> import torch
    >>> from alignet import devices
    >>> [devices.part(torch.arange(5), rank, 2).tolist() for rank in range(2)]
    [[0, 1, 2], [3, 4, 4]]
    """
    length = -(-len(rows) // count)
    padded = torch.cat([rows, rows[-1:].expand(length * count - len(rows))])
    return padded[rank * length : (rank + 1) * length]


def gather(shares: Tensor, n: int) -> Tensor:
    """The first n rows of all processes' `part`s in order; gradients flow into this process's own rows only."""
    if count() == 1:
        return shares
    gathered = [torch.empty_like(shares) for _ in range(count())]
    dist.all_gather(gathered, shares.detach().contiguous())
    gathered[rank()] = shares
    return torch.cat(gathered)[:n]


def launch(module: str, job: object, devices: int) -> None:
    """Run `python -m module --job FILE` in `devices` processes on this machine.

    Args: job: a frozen record (`config.settings`); FILE holds it as JSON, and the processes read it by `handed_over`.
    Raises: RuntimeError if one of them fails or is killed; torchrun then ends the others.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(devices)]
    with tempfile.TemporaryDirectory(prefix="alignet-") as folder:
        file = Path(folder) / "job.json"
        file.write_bytes(TypeAdapter(type(job)).dump_json(job))
        failed = subprocess.run([*torchrun, "-m", module, "--job", str(file)]).returncode
    if failed:
        raise RuntimeError(f"{module}: one of its {devices} processes failed or was killed; torchrun says above which")


def handed_over(file: str, record: type[Item]) -> Item:
    """The job that `launch` has written, as a record of the given class; its values are exactly the same."""
    return TypeAdapter(record).validate_json(Path(file).read_bytes())
