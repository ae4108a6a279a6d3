"""Time and memory of AUPRO against anomalib, and of the pixel AUROC against scikit-learn."""

from __future__ import annotations

import sys

from interleave import PEERS_PYTHON, Contestant, interleave, needed, ratio, script
from record import Row, save, versions

PIXELS = 50_000_000
ROUNDS = 3


def main() -> None:
    """Measure in turn and save what was found."""
    needed([PEERS_PYTHON])
    ours = [sys.executable, script("anomaly_metrics_sightline.py")]
    overlap = interleave(
        [
            Contestant("aupro", [*ours, "aupro", "0"]),
            Contestant("anomalib", [str(PEERS_PYTHON), script("anomaly_metrics_anomalib.py")]),
        ],
        rounds=ROUNDS,
        cores=1,
    )
    area = interleave(
        [
            Contestant("auroc", [*ours, "auroc", str(PIXELS)]),
            Contestant("auroc_streaming", [*ours, "auroc_streaming", str(PIXELS)]),
            Contestant(
                "sklearn", [sys.executable, script("anomaly_metrics_sklearn.py"), str(PIXELS)]
            ),
        ],
        rounds=ROUNDS,
        cores=1,
    )
    results = overlap | area
    number = {name: found["medians"] for name, found in results.items()}
    size = "40 maps of 256x256"
    rows = [
        Row(f"AUPRO of {size}", results["aupro"]["median"], "s"),
        Row(f"anomalib's AUPRO of {size}", results["anomalib"]["median"], "s"),
        Row(
            "AUPRO, times faster", ratio(results, "anomalib", "aupro"), "x", 100.0, "at least",
            note="anomalib 2.7.0 sorts once; 2.2.0 still looped over the regions",
        ),
        Row(
            "AUPRO, difference of the values",
            abs(number["aupro"]["metric"] - number["anomalib"]["metric"]), "", 1e-4,
        ),
        Row("AUPRO, extra memory", number["aupro"]["extra_MiB"], "MiB", 16.0),
        Row("scikit-learn's AUROC of 50 million scores", results["sklearn"]["median"], "s"),
    ]  # fmt: skip
    for name, what in (("auroc", "exact AUROC"), ("auroc_streaming", "streaming AUROC")):
        gap = abs(number[name]["metric"] - number["sklearn"]["metric"])
        rows += [
            Row(f"{what} of 50 million scores", results[name]["median"], "s"),
            Row(f"{what}, times faster", ratio(results, "sklearn", name), "x", 4.0, "at least"),
            Row(f"{what}, difference of the values", gap, "", 1e-5),
            Row(f"{what}, extra memory", number[name]["bytes_per_pixel"], "bytes/pixel", 16.0),
        ]
    packages = ("anomalib", "torch", "numpy")
    save("anomaly_metrics", rows, results | {"peers": versions(PEERS_PYTHON, packages)})
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


if __name__ == "__main__":
    main()
