#!/usr/bin/env python3
"""Lists what a checkpoint holds and, of an encoder of vectors, makes vectors shorter with it.

    python examples/load_checkpoint.py RUN_FOLDER/ckpt/best_model.pth [--vectors FILE.npy]

Duration: a few seconds. Expected result: the epoch and the number of weights, a line for each
entry, and with --vectors the shape before and after and the file FILE_encoded.npy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from sightline.runs import RunFolder
from sightline.trained.model import load_trained
from sightline.training.checkpoint import load_checkpoint_file

ROWS_AT_ONCE = 4096


def main() -> None:
    """List the checkpoint and, where vectors are named, encode them."""
    parser = argparse.ArgumentParser(description="List a checkpoint; encode vectors with it.")
    parser.add_argument("checkpoint", type=Path, help="ckpt/NAME.pth of a run folder")
    parser.add_argument("--vectors", type=Path, help="a .npy file of shape (N, D)")
    chosen = parser.parse_args()
    show(chosen.checkpoint)
    if chosen.vectors is not None:
        encode(chosen.checkpoint, chosen.vectors)


def show(checkpoint: Path) -> None:
    """Print what is in the file; only tensors and plain data are ever loaded."""
    state = load_checkpoint_file(checkpoint)
    weights = state.get("average", state["model"])
    total = sum(tensor.numel() for tensor in weights.values())
    print(f"{checkpoint.name}: epoch {state['epoch']}, {total:,} numbers in {len(weights)} tensors")
    for name, value in state.items():
        print(f"  {name}: {type(value).__name__}")


def encode(checkpoint: Path, vectors: Path) -> None:
    """Write the encoded vectors (N, d) beside the file of vectors (N, D)."""
    run = RunFolder.open(checkpoint.resolve().parents[1])
    trained = load_trained(run, checkpoint.name, device="cpu")
    model, values = trained.model.eval(), np.load(vectors, mmap_mode="r", allow_pickle=False)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(values), ROWS_AT_ONCE):
            block = torch.from_numpy(np.array(values[start : start + ROWS_AT_ONCE], np.float32))
            parts.append(model(block).numpy())
    encoded = np.concatenate(parts)
    target = vectors.with_name(f"{vectors.stem}_encoded.npy")
    np.save(target, encoded)
    print(f"{values.shape} -> {encoded.shape}: {target}")


if __name__ == "__main__":
    main()
