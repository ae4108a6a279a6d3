"""Seconds, value and memory of scikit-learn's AUROC over 50 million scores."""

from __future__ import annotations

import json
import resource
import sys
import time

from anomaly_metrics_defects import pixel_list
from sklearn.metrics import roc_auc_score


def main(number: int) -> None:
    """Measure it on the same scores in memory."""
    scores, labels = pixel_list(number)
    roc_auc_score(labels[:10_000], scores[:10_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    value = float(roc_auc_score(labels, scores))
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bytes_per_pixel = (peak - before) * 1024 / number
    print(json.dumps({"value": seconds, "metric": value, "bytes_per_pixel": bytes_per_pixel}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
