"""CPU seconds, memory and scores of FastReID's evaluation: its Python loop, or its compiled one.

Its package asks for an old PyTorch, so the files of the evaluation are used alone; the compiled
one is built from the source that it ships.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from reid_problem import distances, market
from retrieval_metrics_vectors import PeakMemory


def main(queries: int, gallery: int, size: int, way: str) -> None:
    """Score distances that are there by `python` or `compiled`; print a line of JSON."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    evaluate = _compiled() if way == "compiled" else _python()
    asked, held = market(queries, gallery, size)
    table = distances(asked, held)
    given = asked.labels, held.labels, asked.cameras, held.cameras
    with PeakMemory() as memory:
        started = time.process_time(), time.perf_counter()
        curve, precisions, penalties = evaluate(table, *given, 50, False)
        curve, precisions, penalties = map(np.asarray, (curve, precisions, penalties))
        seconds, wall = time.process_time() - started[0], time.perf_counter() - started[1]
    report = {
        "value": seconds,
        "wall_seconds": wall,
        "extra_MiB": memory.extra_mib,
        "rank_1": float(curve[0]),
        "rank_10": float(curve[9]),
        "map": float(np.mean(precisions, dtype=np.float64)),
        "minp": float(np.mean(penalties, dtype=np.float64)),
    }
    print(json.dumps(report))


def evaluation(name: str) -> ModuleType:
    """A file of the package's evaluation, without the package, which needs much else."""
    found = importlib.util.spec_from_file_location(name, folder() / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # says that the compiled one is missing
        found.loader.exec_module(module)
    return module


def folder() -> Path:
    """Where the package keeps its evaluation."""
    package = importlib.util.find_spec("fastreid")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "evaluation"


def _python() -> Callable[..., object]:
    return evaluation("rank").evaluate_py


def _compiled() -> Callable[..., object]:
    import pyximport

    pyximport.install(setup_args={"include_dirs": np.get_include()}, language_level=3)
    sys.path.insert(0, str(folder() / "rank_cylib"))
    import rank_cy

    return rank_cy.evaluate_cy


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4])
