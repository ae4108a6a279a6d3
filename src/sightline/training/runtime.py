"""The machine as the trainer sees it: device, precision, seeds, processes, memory."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from sightline.errors import ConfigError, TrainingError


def resolve_device(name: str = "auto") -> torch.device:
    """The device a name stands for; `auto` is CUDA where there is one, else the CPU.

    In a process started by torchrun, `auto` and `cuda` mean the GPU of the local rank.
    Raises ConfigError when a named device is absent.
    """
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda", rank) if available else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"There is no device called {name!r}.",
            expected="auto, cpu, cuda, cuda:N or mps",
            remedy="set train.device=auto",
        ) from error
    count = torch.cuda.device_count() if available else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigError(
            f"The device {name!r} is not there.",
            expected=f"one of {count} CUDA devices" if count else "no CUDA device on this machine",
            remedy="set train.device=auto or train.device=cpu",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("The device 'mps' is not there.", remedy="set train.device=auto")
    return torch.device("cuda", rank) if name == "cuda" else device


@dataclass(frozen=True, slots=True)
class Precision:
    """What the forward pass computes in; weights are fp32 in every case."""

    name: str
    dtype: torch.dtype | None
    """Autocast type, or None for plain fp32."""

    @property
    def needs_scaler(self) -> bool:
        """Whether gradients would underflow without a scaler (fp16 only)."""
        return self.dtype is torch.float16

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        """A context that computes in this precision on the device."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, self.dtype)


def resolve_precision(name: str, device: torch.device, *, amp: bool = True) -> Precision:
    """The precision for a device: bf16 on compute capability 8.0 and up, else fp16, fp32 on CPU."""
    if not amp or name == "fp32":
        return Precision("fp32", None)
    if name == "auto":
        if device.type != "cuda":
            return Precision("fp32", None)
        name = "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if name == "fp16" and device.type == "cpu":
        raise ConfigError(
            "fp16 cannot train on a CPU.",
            expected="fp32 or bf16",
            remedy="set train.precision=auto",
        )
    return Precision(name, torch.bfloat16 if name == "bf16" else torch.float16)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; different processes of one run get different streams."""
    own = seed + 1_000_003 * process().rank
    random.seed(own)
    np.random.seed(own % 2**32)  # noqa: NPY002 (libraries still draw from it)
    torch.manual_seed(own)


def random_state() -> dict[str, Any]:
    """The state of every global generator, as tensors and plain data."""
    version, keys, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=True)  # noqa: NPY002
    kind, words, position, has_gauss, cached = numpy_state
    state: dict[str, Any] = {
        "python": [version, list(keys), gauss],
        "numpy": [kind, words.tolist(), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put every global generator back to a state that random_state returned."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, words, position, has_gauss, cached = state["numpy"]
    np.random.set_state(  # noqa: NPY002
        (kind, np.array(words, np.uint32), position, has_gauss, cached)
    )
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@dataclass(frozen=True, slots=True)
class Process:
    """This process among those of one training run."""

    rank: int
    count: int

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


def process() -> Process:
    """This process's place; a run without torchrun is process 0 of 1."""
    if dist.is_available() and dist.is_initialized():
        return Process(dist.get_rank(), dist.get_world_size())
    return Process(0, 1)


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[Process]:
    """Join the other processes that torchrun started, for the length of the block."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1 or dist.is_initialized():
        yield process()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield process()
        # Whoever leaves while another still waits for an answer makes that one fail.
        dist.barrier()
    finally:
        # What wraps a model for the group goes before the group: a trainer refers to itself, so it
        # would otherwise live until the interpreter ends.
        gc.collect()
        dist.destroy_process_group()


def sum_over_processes(values: list[float], device: torch.device) -> list[float]:
    """Element-wise sums of the values over all processes; the values themselves when alone."""
    if process().count == 1:
        return values
    exact = torch.float32 if device.type == "mps" else torch.float64
    tensor = torch.tensor(values, dtype=exact, device=device)
    dist.all_reduce(tensor)
    return [float(value) for value in tensor.tolist()]


def gather_from_processes(value: Any) -> list[Any]:
    """The value of every process, in rank order."""
    count = process().count
    if count == 1:
        return [value]
    gathered: list[Any] = [None] * count
    dist.all_gather_object(gathered, value)
    return gathered


def memory_mebibytes(device: torch.device) -> dict[str, float | None]:
    """Resident memory of this process and peak memory of its GPU (None without one), in MiB."""
    gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {"mem_MiB": resident_mebibytes(), "gpu_mem_MiB": gpu}


def resident_mebibytes() -> float:
    """Resident memory of this process in MiB, NaN where the system does not say."""
    return _resident_bytes() / 2**20


def _resident_bytes() -> float:
    """Resident set size: now on Linux, the peak elsewhere on POSIX, NaN where neither is known."""
    try:
        with open("/proc/self/statm") as handle:
            return int(handle.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require_same_on_all(value: Any, what: str) -> None:
    """Raise TrainingError unless every process has an equal value."""
    values = gather_from_processes(value)
    if any(other != values[0] for other in values):
        raise TrainingError(f"The processes of this run disagree about {what}.", got=values)


def cache_folder() -> Path:
    """The user's folder for things that can be made again."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "sightline"
    try:
        return Path.home() / ".cache" / "sightline"
    except RuntimeError:  # a user without a home, as in many containers
        return Path(tempfile.gettempdir()) / f"sightline-cache-{os.getuid()}"


def keep_freed_memory(device: torch.device) -> bool:
    """Let the C library keep large freed blocks for reuse, where training runs on a CPU.

    By default glibc asks the system for every large tensor anew and gives it back at once, and
    the kernel clears each page again: half of the time of a small convolutional net. Returns
    whether it was done; other C libraries and GPUs are left as they are. It holds for the whole
    process, so only the commands call it, not the trainer.
    """
    if device.type != "cpu" or not sys.platform.startswith("linux"):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, most_mappings = -1, -4
    return bool(mallopt(most_mappings, 0) and mallopt(trim_threshold, 2**31 - 1))
