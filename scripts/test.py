#!/usr/bin/env python3
"""Evaluates a trained encoder: recall of neighbours with intervals, PCA beside it, and its page.

    scripts/test.py
    scripts/test.py RUN --split test

The same as `sightline evaluate RUN`. Each reading of the test is recorded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sightline.cli import main as sightline


def main(arguments: Sequence[str] | None = None) -> None:
    """Translate the options and run the command; the exit code is the command's."""
    parser = argparse.ArgumentParser(description="Evaluate a trained encoder.")
    parser.add_argument("run", nargs="?", default="latest", help="a folder, id or UUID")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--checkpoint", help="one of the run's ckpt/; by default the best")
    parser.add_argument("--exp-dir", default="experiments/train")
    chosen = parser.parse_args(arguments)
    named = ["--checkpoint", chosen.checkpoint] if chosen.checkpoint else []
    place = ["--split", chosen.split, "--exp-dir", chosen.exp_dir]
    sys.argv = ["sightline", "evaluate", chosen.run, *place, *named]
    sightline()


if __name__ == "__main__":
    main()
