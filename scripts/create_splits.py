#!/usr/bin/env python3
"""Writes the splits of a folder of class folders, by object, as a folder for data.manifest.

    scripts/create_splits.py --data_dir photos --output_dir splits

Pictures are called ID_NUMBER.jpg; all pictures of an ID go to one split. The same as
`sightline split retrieve/arcface data.root=photos --out splits`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sightline.console import show_error
from sightline.errors import SightlineError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, print what they hold, and return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        _require_whole(chosen.train_ratio, chosen.val_ratio, chosen.test_ratio)
        # Not before: these take seconds to import.
        from sightline.checking import split_data
        from sightline.data.retrieval_settings import RetrievalDataConfig

        names = chosen.class_names
        config = RetrievalDataConfig(
            root=chosen.data_dir,
            min_image_size=chosen.min_image_size,
            class_names=None if names is None else tuple(name.strip() for name in names.split(",")),
            val_fraction=chosen.val_ratio,
            test_fraction=chosen.test_ratio,
        )
        print(split_data(config, chosen.output_dir, seed=chosen.seed))
    except SightlineError as error:
        show_error(error)
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Write the splits of a folder of class folders, by object.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="holds a folder per class")
    parser.add_argument("--output_dir", type=Path, required=True, help="gets splits.csv and others")
    parser.add_argument("--min_image_size", type=int, default=224, help="least width and height")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument(
        "--class_names", help="the classes to use, as in aloe,lithops", default=None
    )
    for split, ratio in (("train", 0.70), ("val", 0.15), ("test", 0.15)):
        parser.add_argument(f"--{split}_ratio", type=float, default=ratio)
    return parser


def _require_whole(*ratios: float) -> None:
    if abs(sum(ratios) - 1) > 1e-6 or not all(0 <= ratio < 1 for ratio in ratios):
        raise UsageError(
            "The ratios do not divide the data.",
            expected="three shares from 0 to below 1 with the sum 1",
            got=f"train {ratios[0]}, val {ratios[1]}, test {ratios[2]}: {sum(ratios):g}",
            remedy="correct --train_ratio, --val_ratio and --test_ratio",
        )


if __name__ == "__main__":
    sys.exit(main())
