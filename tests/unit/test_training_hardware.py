from __future__ import annotations

import pytest

from sightline.training.hardware import Advice, advise


@pytest.mark.parametrize(
    ("name", "memory", "capability", "advice"),
    [
        ("NVIDIA A100-SXM4-80GB", 79.2, (8, 0), Advice("bf16", 16, 1)),
        ("NVIDIA H100 80GB HBM3", 79.1, (9, 0), Advice("bf16", 16, 1)),
        ("NVIDIA A100-PCIE-40GB", 39.4, (8, 0), Advice("bf16", 8, 2)),
        ("NVIDIA GeForce RTX 3090", 23.7, (8, 6), Advice("bf16", 4, 4)),
        ("NVIDIA GeForce RTX 4070", 11.7, (8, 9), Advice("bf16", None, None)),
        ("Tesla V100-SXM2-32GB", 31.7, (7, 0), Advice("fp16", 4, 4)),
        ("Quadro RTX 8000", 47.5, (7, 5), Advice("fp16", 4, 4)),
        (None, 0.0, (0, 0), Advice("fp32", 4, 4)),
    ],
)
def test_each_row_of_the_table(
    name: str | None, memory: float, capability: tuple[int, int], advice: Advice
) -> None:
    assert advise(name, memory_gib=memory, capability=capability) == advice


def test_auto_is_not_written_down() -> None:
    assert Advice("bf16", None, None).settings() == ["train.precision=bf16"]
    assert Advice("fp16", 4, 4).settings() == [
        "train.precision=fp16",
        "data.workers=4",
        "train.accumulate_steps=4",
    ]
