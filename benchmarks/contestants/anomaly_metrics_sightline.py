"""Seconds, value and memory of Sightline's AUPRO, or of its pixel AUROC over 50 million scores."""

from __future__ import annotations

import json
import resource
import sys
import time
import tracemalloc
from collections.abc import Callable

from anomaly_metrics_defects import defect_maps, pixel_list

from sightline.metrics.auroc import compute_auroc
from sightline.metrics.pixel_scores import compute_aupro, compute_pixel_auroc


def main(what: str, number: int) -> None:
    """Measure one of aupro, auroc (exact) and auroc_streaming, and print a line of JSON."""
    measures: dict[str, Callable[..., float]] = {
        "aupro": compute_aupro,
        "auroc": compute_auroc,
        "auroc_streaming": compute_pixel_auroc,
    }
    scores, labels = defect_maps() if what == "aupro" else pixel_list(number)
    if what == "auroc_streaming":
        scores, labels = scores.reshape(-1, 1000, 1000), labels.reshape(-1, 1000, 1000)
    # Importing scipy is not part of the first image's time.
    compute_aupro(*(part[:2] for part in defect_maps()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    value = measures[what](scores, labels)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    measures[what](scores, labels)
    extra = tracemalloc.get_traced_memory()[1]
    report = {
        "value": seconds,
        "metric": value,
        "extra_MiB": extra / 2**20,
        "resident_MiB": (peak - before) / 1024,
        "bytes_per_pixel": extra / scores.size,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
