"""`sightline doctor`: what this machine offers and what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from sightline.training.hardware import Advice, advise
from sightline.training.runtime import cache_folder, resolve_device, resolve_precision

PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scikit-learn", "optuna", "pillow", "matplotlib",
)  # fmt: skip
EXTRAS = {"faiss-cpu": "faiss", "milvus-lite": "milvus", "pg8000": "postgres"}
"""Optional packages, and the extra that brings each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `ok` is None for what is only worth knowing."""

    name: str
    found: str
    ok: bool | None = None
    hint: str = ""


def examine() -> list[Finding]:
    """Look at everything a training would need, without changing anything but a temporary file."""
    return [
        Finding("sightline", _version("sightline"), True),
        Finding("python", f"{platform.python_version()} on {platform.platform()}", True),
        *(_package(name) for name in PACKAGES),
        *(_extra(package, extra) for package, extra in EXTRAS.items()),
        *_processor(),
        *_accelerator(),
        *(_folder(name, path) for name, path in _folders()),
        _memory(),
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _package(name: str) -> Finding:
    found = _version(name)
    missing = found == "not installed"
    return Finding(name, found, not missing, "pip install --force-reinstall sightline" * missing)


def _extra(package: str, extra: str) -> Finding:
    found = _version(package)
    missing = found == "not installed"
    return Finding(package, found, None, f"only if you want it: sightline[{extra}]" * missing)


def _processor() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    matrix = "amx_bf16" in _cpu_flags()
    found = [Finding("cpu", f"{cores} cores, torch uses {torch.get_num_threads()} threads", True)]
    if matrix:
        found.append(
            Finding(
                "bf16 on this cpu",
                "has matrix units",
                None,
                "train.precision=bf16 may be 1.5 to 3 times as fast for ResNets, slower for "
                "EfficientNets; measure it on one epoch",
            )
        )
    if os.environ.get("OPENBLAS_CORETYPE") is None and "avx" not in _cpu_flags() and _cpu_flags():
        found.append(
            Finding(
                "old cpu",
                "no AVX",
                None,
                "if something ends with 'Illegal instruction', set OPENBLAS_CORETYPE=PRESCOTT",
            )
        )
    return found


def _accelerator() -> list[Finding]:
    device = resolve_device("auto")
    precision = resolve_precision("auto", device).name
    if device.type != "cuda":
        hint = "torch was built with CUDA, but sees no GPU: check the driver with nvidia-smi"
        has_driver = Path("/proc/driver/nvidia").exists() or importlib.util.find_spec("pynvml")
        return [Finding("gpu", f"none; training runs on the CPU in {precision}", None,
                        hint if has_driver and torch.version.cuda else ""),
                _suits(advise(None))]  # fmt: skip
    names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    suited = advise(names[0], memory_gib=memory, capability=torch.cuda.get_device_capability(0))
    return [
        Finding("gpu", f"{', '.join(names)} ({memory:.0f} GiB), precision {precision}", True),
        _suits(suited),
    ]


def _suits(advice: Advice) -> Finding:
    auto = {"data.workers": advice.workers, "train.accumulate_steps": advice.accumulate_steps}
    left = [f"{key}: auto" for key, value in auto.items() if value is None]
    hint = "advice; precision and workers are chosen by themselves, all can be given by hand"
    return Finding("suits retrieval here", ", ".join([*advice.settings(), *left]), None, hint)


def _folders() -> list[tuple[str, Path]]:
    return [
        ("runs go to", Path("experiments/train").absolute()),
        ("decoded images go to", cache_folder()),
    ]


def _folder(name: str, path: Path) -> Finding:
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding(name, f"{path}: {error.strerror}", False, "choose another folder: "
                       "output.exp_dir=FOLDER, data.cache_dir=FOLDER")  # fmt: skip
    status = os.statvfs(existing) if hasattr(os, "statvfs") else None
    free = f", {status.f_bavail * status.f_frsize / 2**30:.0f} GiB free" if status else ""
    return Finding(name, f"{path}{free}", True)


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return Finding("memory", "unknown")
    sizes = {line.split(":")[0]: int(line.split()[1]) / 2**20 for line in lines if "kB" in line}
    return Finding(
        "memory", f"{sizes['MemAvailable']:.1f} of {sizes['MemTotal']:.1f} GiB free", True
    )


def _cpu_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":")[1].split())
    except OSError:
        pass
    return set()
