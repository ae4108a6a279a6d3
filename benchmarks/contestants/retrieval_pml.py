"""Embeddings by pytorch-metric-learning's own recipes, as its examples show them.

Its trainer, losses, miner and sampler do the training; the trunk is the one all contestants
start from. Sources are paths in the repository KevinMusgrave/pytorch-metric-learning. Runs in the
peers' environment, without a network.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import json
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from pytorch_metric_learning import losses, miners, samplers, trainers
from pytorch_metric_learning.utils import common_functions
from torch import Tensor, nn
from torchvision import transforms

BACKBONE = "mobilenetv2_100"
DIMENSION = 512
# examples/notebooks/MetricLossOnly.ipynb and TrainWithClassifier.ipynb, with pretrained trunks.
BATCH_SIZE = 32
TRUNK_RATE, EMBEDDER_RATE, DECAY = 1e-5, 1e-4, 1e-4
# examples/notebooks/SubCenterArcFaceMNIST.ipynb: the weights of the loss have an Adam of their own.
LOSS_RATE = 1e-4
# examples/example_MetricLossOnly.py, for photos: the shorter side to 256, crops of 227.
SHORTER_SIDE = 256 / 227
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PACKAGES = ("pytorch-metric-learning", "torch", "torchvision", "timm", "numpy")
RECIPES = {
    "arcface": "ArcFaceLoss, margin 28.6 degrees, scale 64, shuffled batches",
    "triplet": "TripletMarginLoss, margin 0.1, MultiSimilarityMiner, MPerClassSampler with m=4",
    "none": "no training: the trunk's features",
}


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """The pictures of a table, decoded and made smaller once, changed anew at every look."""

    def __init__(self, data: Path, table: Path, side: int, change: transforms.Compose) -> None:
        with table.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        smaller = transforms.Resize(side)
        self.pictures = [smaller(Image.open(data / row["ID"]).convert("RGB")) for row in rows]
        names = sorted({row["target"] for row in rows})
        self.targets = [names.index(row["target"]) for row in rows]
        self.change = change

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.change(self.pictures[place]), self.targets[place]


class ChannelsLast(nn.Module):
    """The trunk with the memory format that is fast on this processor; same numbers."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D)."""
        return self.trunk(images.contiguous(memory_format=torch.channels_last))


def main() -> None:
    """Train one recipe with one seed; write the embeddings, and beside them what was done."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--recipe", choices=sorted(RECIPES), required=True)
    options.add_argument("--data", type=Path, required=True, help="the folder of the pictures")
    options.add_argument("--tables", type=Path, required=True, help="holds train.csv, embed.csv")
    options.add_argument("--weights", type=Path, required=True, help="state dict of the trunk")
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--rates", type=float, default=1.0, help="times those of the examples")
    options.add_argument("--freeze-batchnorm", action="store_true", help="an option of its trainer")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--out", type=Path, required=True, help="the .npy to write")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    common_functions.NUMPY_RANDOM = np.random.default_rng(given.seed)
    started = time.perf_counter()
    trunk, embedder = create(given.weights, untrained=given.recipe == "none")
    facts: dict[str, Any] = {}
    if given.recipe != "none":
        facts = train(given, trunk, embedder)
    trained = time.perf_counter()
    embeddings = embed(given, trunk, embedder)
    np.save(given.out, embeddings)
    facts |= {
        "seconds": {"train": trained - started, "embed": time.perf_counter() - trained},
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "settings": settings_of(given),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
    given.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")


def create(weights: Path, *, untrained: bool) -> tuple[nn.Module, nn.Module]:
    """The trunk with all the file's tensors but the classifier's, and the embedder on top."""
    trunk = timm.create_model(BACKBONE, num_classes=0)
    tensors = torch.load(weights, weights_only=True)
    wanted = trunk.state_dict()
    trunk.load_state_dict({key: tensors[key] for key in wanted}, strict=True)
    # The examples' MLP of one layer is a Linear.
    embedder = nn.Identity() if untrained else nn.Linear(trunk.num_features, DIMENSION)
    return ChannelsLast(trunk), embedder


def train(given: argparse.Namespace, trunk: nn.Module, embedder: nn.Module) -> dict[str, Any]:
    """Train with MetricLossOnly, the trainer of the examples."""
    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(given.size, scale=(0.16, 1), ratio=(0.75, 1.33)),
            transforms.RandomHorizontalFlip(0.5),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    side = round(given.size * SHORTER_SIDE)
    pictures = Pictures(given.data, given.tables / "train.csv", side, change)
    loss, mining, sampler = parts_of(given.recipe, pictures.targets)
    optimizers = {
        "trunk_optimizer": adam(trunk, TRUNK_RATE * given.rates, DECAY),
        "embedder_optimizer": adam(embedder, EMBEDDER_RATE * given.rates, DECAY),
    }
    if list(loss.parameters()):
        optimizers["metric_loss_optimizer"] = adam(loss, LOSS_RATE * given.rates, 0)
    seconds: list[float] = []
    trainer = trainers.MetricLossOnly(
        {"trunk": trunk, "embedder": embedder},
        optimizers,
        BATCH_SIZE,
        {"metric_loss": loss},
        pictures,
        mining_funcs=mining,
        sampler=sampler,
        freeze_trunk_batchnorm=given.freeze_batchnorm,
        dataloader_num_workers=0,
        end_of_epoch_hook=lambda _: seconds.append(time.perf_counter()),
    )
    started = time.perf_counter()
    trainer.train(num_epochs=given.epochs)
    return {
        "pictures": len(pictures),
        "classes": max(pictures.targets) + 1,
        "steps": trainer.iterations_per_epoch * given.epochs,
        "seconds_per_epoch": (seconds[-1] - started) / given.epochs,
    }


def parts_of(recipe: str, targets: list[int]) -> tuple[nn.Module, dict[str, Any], Any]:
    """Loss, mining and sampler of a recipe; without a sampler batches are shuffled."""
    if recipe == "arcface":
        loss = losses.ArcFaceLoss(num_classes=max(targets) + 1, embedding_size=DIMENSION)
        return loss, {}, None
    # Without batch_size its epoch would end after one pass of 4 pictures of each class.
    sampler = samplers.MPerClassSampler(
        targets, m=4, batch_size=BATCH_SIZE, length_before_new_iter=len(targets)
    )
    miner = miners.MultiSimilarityMiner(epsilon=0.1)
    return losses.TripletMarginLoss(margin=0.1), {"tuple_miner": miner}, sampler


def adam(module: nn.Module, rate: float, decay: float) -> torch.optim.Adam:
    """The optimizer of one part, as in the examples."""
    return torch.optim.Adam(module.parameters(), lr=rate, weight_decay=decay)


def embed(given: argparse.Namespace, trunk: nn.Module, embedder: nn.Module) -> np.ndarray:
    """Embeddings of all rows of embed.csv, in their order, from the central square."""
    change = transforms.Compose(
        [
            transforms.CenterCrop(given.size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    # The shorter side to the crop's own, so that objects at the border are seen; the examples'
    # notebooks do the same, their older scripts crop 227 of 256.
    pictures = Pictures(given.data, given.tables / "embed.csv", given.size, change)
    trunk.eval()
    embedder.eval()
    loader = torch.utils.data.DataLoader(pictures, batch_size=BATCH_SIZE)
    with torch.inference_mode():
        return torch.cat([embedder(trunk(images)) for images, _ in loader]).numpy()


def settings_of(given: argparse.Namespace) -> dict[str, Any]:
    """What decided the result."""
    return {
        "recipe": RECIPES[given.recipe],
        "size": given.size,
        "epochs": 0 if given.recipe == "none" else given.epochs,
        "batch_size": BATCH_SIZE,
        "rates": {
            "trunk": TRUNK_RATE * given.rates,
            "embedder": EMBEDDER_RATE * given.rates,
            "loss": LOSS_RATE * given.rates,
        },
        "times_the_examples": given.rates,
        "batchnorm": "frozen" if given.freeze_batchnorm else "learns as in the examples",
        "weights_sha256": hashlib.sha256(given.weights.read_bytes()).hexdigest(),
        "threads": given.threads,
    }


if __name__ == "__main__":
    main()
