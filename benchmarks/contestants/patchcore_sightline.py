"""Sightline's PatchCore: seconds to choose a coreset, or to score an image."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from patchcore_problem import LAYERS, SCORED, report, seconds, tensor

from sightline.models.coreset import greedy_k_center
from sightline.models.neighbours import nearest
from sightline.models.patchcore import create_patchcore
from sightline.models.settings import BackboneConfig


def coreset(folder: Path, count: int, first: int) -> None:
    """Choose centres among the given features."""
    features = tensor(folder, "features")
    spent, chosen = seconds(lambda: greedy_k_center(features, count, first=first))
    np.save(folder / "coreset_sightline.npy", chosen.indices.numpy())
    report(spent, radius=chosen.radius)


def score(folder: Path) -> None:
    """Score images one by one with the given bank."""
    config = BackboneConfig(name="resnet18", pretrained=False, weights=folder / "weights.pth")
    model = create_patchcore(config, LAYERS, img_size=256).eval()
    bank = tensor(folder, "bank")
    model.load_state_dict({**model.state_dict(), "memory_bank": bank})
    images = tensor(folder, "images")[-SCORED:].split(1)
    model(images[0])
    spent, found = seconds(lambda: [model(image) for image in images])
    patches = model.patches(torch.cat(images))[0]
    np.savez(
        folder / "scores_sightline.npz",
        scores=torch.cat([one.score for one in found]).numpy(),
        maps=torch.cat([one.map for one in found]).numpy(),
        distances=nearest(patches.flatten(0, 1), bank)[0].numpy(),
        blurred=model.blur(tensor(folder, "images")[:2, 0].float()).numpy(),
    )
    report(spent / len(images))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[2] == "coreset":
        coreset(Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        score(Path(sys.argv[1]))
