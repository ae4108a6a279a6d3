"""What suits an accelerator: precision, worker processes, accumulated batches.

`auto` settings decide precision and workers by themselves; how many batches are accumulated changes
what is learnt, so it is advice and never set because of the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

AMPERE = (8, 0)
"""Compute capability from which there are bf16 and TF32 (an RTX 3090 has 8.6)."""
LARGE_GIB, MIDDLE_GIB = 70, 35
"""An A100 of 80 GB has 79 GiB, one of 40 GB has 39."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Settings for one kind of machine; None is auto."""

    precision: str
    workers: int | None
    accumulate_steps: int | None

    def settings(self) -> list[str]:
        """The same as KEY=VALUE, to be given by hand where another value is wanted."""
        given = {
            "train.precision": self.precision,
            "data.workers": self.workers,
            "train.accumulate_steps": self.accumulate_steps,
        }
        return [f"{key}={value}" for key, value in given.items() if value is not None]


def advise(
    name: str | None, *, memory_gib: float = 0.0, capability: tuple[int, int] = (0, 0)
) -> Advice:
    """What suits a GPU by its name, memory and compute capability; a name of None is a CPU.

    >>> advise("NVIDIA A100-SXM4-80GB", memory_gib=79.2, capability=(8, 0)).settings()
    ['train.precision=bf16', 'data.workers=16', 'train.accumulate_steps=1']
    """
    if name is None:
        return Advice("fp32", 4, 4)
    if capability < AMPERE:
        return Advice("fp16", 4, 4)
    if memory_gib >= LARGE_GIB:
        return Advice("bf16", 16, 1)
    if memory_gib >= MIDDLE_GIB:
        return Advice("bf16", 8, 2)
    if "3090" in name:
        return Advice("bf16", 4, 4)
    return Advice("bf16", None, None)
