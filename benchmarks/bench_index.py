"""Building, searching and saving a gallery by every engine, against exact search."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from interleave import WORK, script
from record import Row, save

FOLDER = WORK / "index"
ENGINES = ("exact", "faiss-flat", "faiss-hnsw", "faiss-ivfpq", "milvus")
PER_CENTRE = 50
SPREAD = 2.0


def main() -> None:
    """Make the vectors, and measure each engine in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gallery", type=int, default=100_000, help="vectors that are searched")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="searches; the fastest counts")
    options = parser.parse_args()
    _make_vectors(options.gallery, options.queries, options.dimension)
    rows: list[Row] = []
    details: dict[str, object] = {**vars(options), "spread": SPREAD, "per_centre": PER_CENTRE}
    for engine in ENGINES:
        found = _measured(engine, options.threads, options.rounds)
        details[engine] = found
        rows += [
            Row(f"{engine}: build and save", found["build_seconds"], "s", note="CPU time"),
            Row(
                f"{engine}: 10 nearest",
                options.queries / found["value"],
                "queries/s",
                note="k=10, CPU time",
            ),
            Row(f"{engine}: recall@10 against exact", found["recall"], ""),
            Row(f"{engine}: on the disk", found["bytes"] / 2**20, "MiB"),
        ]
        print(json.dumps({"engine": engine, **found}), flush=True)
    save("index", rows, details)
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


def _measured(engine: str, threads: int, rounds: int) -> dict[str, float]:
    saved = FOLDER / engine
    shutil.rmtree(saved, ignore_errors=True)
    command = [sys.executable, script("index_engine.py"), str(FOLDER), engine, str(saved)]
    done = subprocess.run(
        [*command, str(threads), str(rounds)],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{engine} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    found["bytes"] = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
    shutil.rmtree(saved)
    return found


def _make_vectors(gallery: int, queries: int, dimension: int) -> None:
    """Vectors of length 1 around centres; the queries are around the same ones."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    centres = random.standard_normal((max(1, gallery // PER_CENTRE), dimension), dtype=np.float32)
    for name, count in (("gallery", gallery), ("queries", queries)):
        file: Path = FOLDER / f"{name}.npy"
        shape = (count, dimension)
        vectors = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, count, 65_536):
            size = min(65_536, count - start)
            block = random.standard_normal((size, dimension), dtype=np.float32) * SPREAD
            block += centres[random.integers(0, len(centres), size)]
            vectors[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
        vectors.flush()


if __name__ == "__main__":
    main()
