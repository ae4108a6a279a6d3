"""Seconds, value and memory of anomalib's AUPRO on the same maps."""

from __future__ import annotations

import json
import resource
import time

import torch
from anomalib.metrics.aupro import _AUPRO
from anomaly_metrics_defects import defect_maps


def main() -> None:
    """Measure from the maps in memory to the number, as its users call it."""
    torch.set_num_threads(1)
    maps, masks = (torch.from_numpy(part) for part in defect_maps())
    few = _AUPRO(fpr_limit=0.3)
    few.update(maps[:2], masks[:2].int())
    few.compute()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    metric = _AUPRO(fpr_limit=0.3)
    metric.update(maps, masks.int())
    value = float(metric.compute())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"value": seconds, "metric": value, "resident_MiB": (peak - before) / 1024}))


if __name__ == "__main__":
    main()
