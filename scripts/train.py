#!/usr/bin/env python3
"""Trains an encoder that makes vectors shorter and keeps their distances and neighbours.

    scripts/train.py
    scripts/train.py --data vectors.npy --loss-function DPLossV2 --tau 0.5 --latent-dim 256

Without --data it learns from the handwritten digits that come with scikit-learn. The same as
`sightline train compress/v2 data.vectors=FILE KEY=VALUE ...`; other KEY=VALUE go to it as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sightline.cli import main as sightline

RECIPES = {
    "DPLossV1": "compress/v1",
    "DPLossV1Norm": "compress/v1norm",
    "DPLossV2": "compress/v2",
    "DPLossV2Norm": "compress/v2norm",
}
DIGITS = ["data.digits=demo-digits", "model.latent_dim=16", "train.batch_size=256"]
"""What is trained on without a table: vectors of 64 numbers."""
SETTINGS = {
    "data": "data.vectors",
    "tau": "loss.tau",
    "k": "loss.k",
    "lambda_rank": "loss.lambda_rank",
    "lambda_pairdist": "loss.lambda_pairdist",
    "epochs": "train.epochs",
    "batch_size": "train.batch_size",
    "save_interval": "output.save_interval",
    "lr": "train.lr",
    "latent_dim": "model.latent_dim",
    "seed": "project.seed",
    "device": "train.device",
    "exp_dir": "output.exp_dir",
}
"""Option -> the setting that it is."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Translate the options and run the command; the exit code is the command's."""
    chosen = vars(_parser().parse_args(arguments))
    given = [f"{key}={chosen[name]}" for name, key in SETTINGS.items() if chosen[name] is not None]
    digits = [] if chosen["data"] else DIGITS
    recipe = RECIPES[chosen["loss_function"]]
    sys.argv = ["sightline", "train", recipe, *digits, *given, *chosen["settings"]]
    sightline()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train an encoder that keeps distances and neighbours of vectors."
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="any other setting")
    parser.add_argument("--data", metavar="FILE", help=".npy, .npz, .parquet, .jsonl or .fvecs")
    parser.add_argument(
        "--loss-function", choices=sorted(RECIPES), default="DPLossV2",
        help="V1: hard ranks, V2: soft ranks; Norm: as fractions (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--tau", type=float,
        help="softness of ranks, V2 only (default 1.0): less is sharper; in units of the spread of "
        "distances",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, help="default 100")
    parser.add_argument("--batch-size", type=int, help="default 512")
    parser.add_argument(
        "--save-interval", type=int,
        help="epochs between kept checkpoints; default SAVE_INTERVAL of the environment, else 10",
    )  # fmt: skip
    parser.add_argument("--lr", type=float, help="default 0.001")
    parser.add_argument("--latent-dim", type=int, help="default 512; 16 for the digits")
    parser.add_argument("--lambda-rank", type=float, help="default 1.0")
    parser.add_argument("--lambda-pairdist", type=float, help="default 0.3")
    parser.add_argument("--k", type=int, help="of V1 and V1Norm, default 5: a divisor")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", help="auto (default), cpu, cuda or mps")
    parser.add_argument("--exp-dir", help="default experiments/train")
    return parser


if __name__ == "__main__":
    main()
