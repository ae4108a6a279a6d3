"""PatchCore's coreset and scoring against anomalib's, on the same features, weights and bank."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from interleave import PEERS_PYTHON, WORK, Contestant, interleave, needed, ratio, script
from record import Row, save, versions
from sightline.models.coreset import projected_size, sparse_projection
from sightline.models.feature_maps import create_feature_maps
from sightline.models.patchcore import create_patchcore
from sightline.models.settings import BackboneConfig

FOLDER = WORK / "patchcore"
BANK = 20_480
SCORED = 16
FIRST = 7


def main() -> None:
    """Give both the same problem, take turns, and compare times and answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--images", type=int, default=40, help="images the candidates come from")
    parser.add_argument("--data", type=Path, help="folder of images (default: generated ones)")
    parser.add_argument("--weights", type=Path, help="resnet18 weights (default: random ones)")
    options = parser.parse_args()
    needed([PEERS_PYTHON])
    candidates = _problem(options.images, options.data, options.weights)
    count = candidates // 10
    rows: list[Row] = []
    details = {}
    for job, arguments in (("coreset", [str(count), str(FIRST)]), ("score", [])):
        given = [str(FOLDER), job, *arguments]
        results = details[job] = interleave(
            [
                Contestant("sightline", [sys.executable, script("patchcore_sightline.py"), *given]),
                Contestant(
                    "anomalib", [str(PEERS_PYTHON), script("patchcore_anomalib.py"), *given]
                ),
            ],
            rounds=options.rounds,
            cores=1,
        )
        what = f"coreset of {count} of {candidates}" if job == "coreset" else "one image, 256 px"
        rows += [
            Row(f"{name}, {what}", results[name]["median"], "s", note="CPU time")
            for name in results
        ]
        times = ratio(results, "anomalib", "sightline")
        rows.append(Row(f"faster than anomalib, {what}", times, "x", 1.0, "at least"))
    rows += _answers()
    details["data"] = {
        "real images": options.data is not None,
        "given weights": bool(options.weights),
    }
    details["anomalib"] = versions(PEERS_PYTHON, ("anomalib", "torch", "timm"))
    save("patchcore", rows, details)
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


def _problem(count: int, data: Path | None, weights: Path | None) -> int:
    """Write what both are given, and return the number of candidate patches."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    needed_images = max(count, BANK // 1024 + SCORED)
    images = _generated(needed_images) if data is None else _read(data, needed_images)
    np.save(FOLDER / "images.npy", images.numpy())
    torch.manual_seed(0)
    config = BackboneConfig(name="resnet18", pretrained=False, weights=weights)
    maps = create_feature_maps(config, ("layer2", "layer3"), img_size=256)
    torch.save(maps.backbone.state_dict(), FOLDER / "weights.pth")
    model = create_patchcore(
        BackboneConfig(name="resnet18", pretrained=False, weights=FOLDER / "weights.pth"),
        img_size=256,
    )
    patches = torch.cat([model.patches(part)[0] for part in images.split(8)])
    candidates = patches[:count].flatten(0, 1)
    random = np.random.default_rng(0)
    matrix = sparse_projection(candidates.shape[1], projected_size(len(candidates)), random)
    projected = candidates @ torch.from_numpy(matrix)
    np.save(FOLDER / "features.npy", (projected - projected.mean(0)).numpy())
    # The images that are scored are the last ones; the bank is of the others.
    others = patches[:-SCORED].flatten(0, 1)
    rows = torch.from_numpy(random.permutation(len(others))[:BANK])
    np.save(FOLDER / "bank.npy", others[rows].numpy())
    return len(candidates)


def _generated(count: int) -> torch.Tensor:
    """Images with structure at several scales."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        torch.nn.functional.interpolate(
            torch.rand(count, 3, side, side, generator=generator), 256, mode="bilinear"
        )
        for side in (8, 32, 128)
    ]
    return (sum(layers, torch.zeros(1)) / 3 * 255).byte()


def _read(folder: Path, count: int) -> torch.Tensor:
    """The first images of a folder by name, at 256 x 256."""
    files = sorted(path for path in folder.iterdir() if path.is_file())[:count]
    opened = [Image.open(path).convert("RGB").resize((256, 256)) for path in files]
    return torch.stack(
        [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in opened]
    ).contiguous()


def _answers() -> list[Row]:
    """How far the answers of the two are apart."""
    ours, theirs = (np.load(FOLDER / f"coreset_{name}.npy") for name in ("sightline", "anomalib"))
    same = float((ours == theirs).mean())
    rows = [Row("share of equal choices, in order", same, "")]
    with (
        np.load(FOLDER / "scores_sightline.npz") as ours_scores,
        np.load(FOLDER / "scores_anomalib.npz") as theirs_scores,
    ):
        for name, goal, note in (
            ("scores", 1e-4, "image scores"),
            ("distances", 1e-4, "patch distances"),
            ("blurred", 1e-4, "the blur of a given map"),
            ("maps", None, "maps: bilinear as in the paper, nearest in anomalib"),
        ):
            one, other = ours_scores[name], theirs_scores[name]
            apart = float(np.abs(one - other).max() / np.abs(other).max())
            rows.append(Row("largest difference, relative", apart, "", goal, note=note))
    return rows


if __name__ == "__main__":
    main()
