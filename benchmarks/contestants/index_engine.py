"""Builds, saves, opens and searches a gallery by one engine; prints processor seconds as JSON.

Arguments: folder with gallery.npy and queries.npy, engine, folder to save in, threads, rounds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sightline.search.gallery import Gallery
from sightline.search.index import build_index, recall_against_exact
from sightline.search.saved import open_gallery, write_gallery
from sightline.search.settings import IndexSettings

NEIGHBOURS = 10


def main() -> None:
    """Measure and print."""
    folder, engine, target, threads, rounds = sys.argv[1:]
    torch.set_num_threads(int(threads))
    settings = IndexSettings.model_validate({"engine": engine})
    vectors = np.load(Path(folder) / "gallery.npy", mmap_mode="r")
    queries = np.load(Path(folder) / "queries.npy")
    # What the first use of each library costs is not what is measured.
    build_index(vectors[:100], settings=IndexSettings()).search(queries[:1], 1)
    names = [str(row) for row in range(len(vectors))]
    gallery = Gallery.build(vectors, ids=names, labels=names, model={})
    build = _seconds(lambda: write_gallery(target, gallery, settings=settings))
    start = time.process_time()
    _, index = open_gallery(target)
    opened = time.process_time() - start
    searches = [_seconds(lambda: index.search(queries, NEIGHBOURS)) for _ in range(int(rounds))]
    found = {
        "value": min(searches),
        "build_seconds": build,
        "open_seconds": opened,
        "recall": recall_against_exact(index, vectors, queries, NEIGHBOURS),
    }
    index.close()
    print(json.dumps(found))


def _seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process, all threads together."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
