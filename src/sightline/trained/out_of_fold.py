"""oof/: what the folds' models say of the rows they were not trained on, joined to the table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sightline.data.manifest import Manifest
from sightline.experiment.fold_results import add_out_of_fold
from sightline.runs import History, RunFolder, write_atomically


def write_out_of_fold(
    run: RunFolder, samples: Manifest, rows: Mapping[str, Any], headline: Mapping[str, Any]
) -> None:
    """Write oof_logits.npy (N, C) float32, oof_targets.npy (N,) int64 and oof_ids.csv (id, fold).

    Rows are in the order of the samples, which is that of the table they came from.
    """
    folder = run.path / "oof"
    folder.mkdir(exist_ok=True)
    write_array(folder / "oof_logits.npy", rows["logits"])
    write_array(folder / "oof_targets.npy", rows["targets"], kind=np.int64)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "fold"])
    writer.writerows(zip(rows["ids"], samples.fold.tolist(), strict=True))
    write_atomically(folder / "oof_ids.csv", table.getvalue())
    add_out_of_fold(run, headline)
    scores = {f"oof_{name}": one["value"] for name, one in headline.items()}
    row = {"event": "oof", "fold": "all", "epoch": -1, **scores, "n": len(rows["ids"])}
    History(run.metrics_file).append(row)


def write_array(target: Path, values: npt.ArrayLike, *, kind: type = np.float32) -> None:
    """Write an array as .npy, beside its place and then renamed."""
    content = io.BytesIO()
    np.save(content, np.asarray(values, kind), allow_pickle=False)
    write_atomically(target, content.getvalue())
