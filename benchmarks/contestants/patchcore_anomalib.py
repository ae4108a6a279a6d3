"""anomalib's PatchCore: seconds to choose a coreset, or to score an image."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from anomalib.models.components import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from patchcore_problem import LAYERS, MEAN, SCORED, STD, report, seconds, tensor


def coreset(folder: Path, count: int, first: int) -> None:
    """Choose centres among the given features; three dimensions make it leave out projecting."""
    features = tensor(folder, "features")
    sampler = KCenterGreedy(features[:, :, None], sampling_ratio=count / len(features))
    sampler.coreset_size = count
    draw = torch.randint
    torch.randint = lambda *_, **__: torch.tensor([first])  # the start it would draw
    spent, chosen = seconds(sampler.select_coreset_idxs)
    torch.randint = draw
    np.save(folder / "coreset_anomalib.npy", np.array(chosen))
    report(spent, radius=float(sampler.min_distances.max()))


def score(folder: Path) -> None:
    """Score images one by one with the given bank."""
    model = PatchcoreModel(LAYERS, backbone="resnet18", pre_trained=False).eval()
    weights = torch.load(folder / "weights.pth", weights_only=True)
    model.feature_extractor.feature_extractor.load_state_dict(weights)
    model.memory_bank = tensor(folder, "bank")
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    images = tensor(folder, "images")[-SCORED:].split(1)
    with torch.no_grad():
        model((images[0] / 255 - mean) / std)
        spent, found = seconds(lambda: [model((image / 255 - mean) / std) for image in images])
        maps = model.feature_extractor((torch.cat(images) / 255 - mean) / std)
        pooled = {layer: model.feature_pooler(one) for layer, one in maps.items()}
        patches = model.reshape_embedding(model.generate_embedding(pooled))
        blur = model.anomaly_map_generator.blur
        np.savez(
            folder / "scores_anomalib.npz",
            scores=torch.cat([one.pred_score for one in found]).numpy(),
            maps=torch.cat([one.anomaly_map for one in found])[:, 0].numpy(),
            distances=model.nearest_neighbors(patches, 1)[0].numpy(),
            blurred=blur(tensor(folder, "images")[:2, :1].float())[:, 0].numpy(),
        )
    report(spent / len(images))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[2] == "coreset":
        coreset(Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        score(Path(sys.argv[1]))
