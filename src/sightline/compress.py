"""`sightline compress`: the smallest form of some vectors that keeps their neighbours.

N rows of a table, D numbers each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.compressing.fitting import Fitter
from sightline.compressing.judging import Trial
from sightline.compressing.learning import encoder_trainer
from sightline.compressing.material import Material, read_material
from sightline.compressing.onnx_codec import export_codec
from sightline.compressing.outcome import Search
from sightline.compressing.searching import SearchSettings, find_smallest
from sightline.compressing.table import report_rows, says_of, table_lines
from sightline.compressing.target import Target, parse_target
from sightline.config import load_config
from sightline.errors import MissingExtraError, UsageError
from sightline.experiment import SPLITS_FILE, create_run, find_samples
from sightline.experiment.recording import ending_recorded, logged
from sightline.experiment.samples import save_samples
from sightline.reports.run_page import write_run_report
from sightline.runs import RunFolder, write_atomically
from sightline.runs.plain import to_json
from sightline.tasks import TASKS
from sightline.tasks.compress_config import CompressConfig
from sightline.trained import TASK_CONFIGS
from sightline.trained.codec_folder import refuse_foreign, save_codec

Say = Callable[[str], object]
RECIPE = "compress/neighbours"
SEARCH_FILE = "search.json"
CODEC_FOLDER = "codec"
_PARTS = {"train": "fit", "val": "val", "test": "test"}


@dataclass(frozen=True)
class CompressRequest:
    """What the command line says."""

    vectors: Path
    keep: str
    overrides: Sequence[str] = ()
    out: Path | None = None
    """Folder of the codec; None: RUN/codec."""
    learned: bool = True
    """Train encoders too."""
    budgets: tuple[int, ...] | None = None
    """Bytes that are tried; None: `candidates.default_budgets`."""


def compress_vectors(
    request: CompressRequest,
    *,
    command: Sequence[str],
    then: Callable[[RunFolder, Path], None] | None = None,
    say: Say = print,
) -> tuple[RunFolder, Path]:
    """The run with the table of every form, and the folder of the codec.

    Forms are fitted to rows to fit and chosen on val by a lower bound; test is read once, for the
    report. `then` is called with both when everything is written. Where no form keeps the target
    RunError is raised, after the best one was saved all the same, with the table. Raises
    UsageError for a target that cannot be read, and DataError for vectors that cannot be used.
    """
    target = parse_target(request.keep)
    if request.out is not None:
        refuse_foreign(request.out)
    config = _configured(request, target)
    task = TASKS[config.task]
    dataset = find_samples(config)
    config = task.resolve(dataset, config)
    for note in [*dataset.notes, *task.check_data(dataset, config)]:
        say(note)
    material = read_material(dataset, config)
    run = create_run(config, command)
    with logged(run, config, kind="compress"):
        run.set_status("running")
        counts = {name: len(dataset.part(part)) for name, part in _PARTS.items()}
        root = str(dataset.manifest.root)
        run.update(kind="compression search", data={**counts, "classes": [], "root": root})
        save_samples(dataset, config, run.path / SPLITS_FILE)
        with ending_recorded(run):
            search, codec = _search_in(run, request, config, material, say=say)
        run.set_status("finished")
        say(f"run {run.path}")
        say(f"report {write_run_report(run.path)}")
        if then is not None:
            then(run, codec)
        search.require_met()
    return run, codec


def _configured(request: CompressRequest, target: Target) -> CompressConfig:
    """The configuration of the search, and of the encoders that are trained in it."""
    if not request.vectors.is_file():
        raise UsageError(
            "The table of vectors is not there.",
            expected="a .npy, .npz, .parquet, .jsonl or .fvecs file",
            got=request.vectors,
            where="VECTORS",
        )
    ks = sorted({5, 10, target.k})
    given = [
        f"data.vectors={request.vectors}",
        "project.name=compress",
        "model.latent_dim=1",
        f"eval.recall_k={ks}",
        f"train.monitor=recall_at_{target.k}",
        f"loss.k={max(target.k, 2)}",
    ]
    config = load_config(RECIPE, [*given, *request.overrides], tasks=TASK_CONFIGS)
    assert isinstance(config, CompressConfig)
    return config


def _search_in(
    run: RunFolder,
    request: CompressRequest,
    config: CompressConfig,
    material: Material,
    *,
    say: Say,
) -> tuple[Search, Path]:
    target = parse_target(request.keep)
    train = encoder_trainer(config, run, material.metric) if request.learned else None
    search = find_smallest(
        target,
        Fitter(material.fit, metric=material.metric, seed=config.project.seed),
        material.val,
        material.test,
        settings=SearchSettings(budgets=request.budgets, train_learned=train),
        say=say,
    )
    rows = report_rows(search, material.test)
    for line in [*table_lines(rows, target.k), says_of(search)]:
        say(line)
    codec = request.out or run.path / CODEC_FOLDER
    _save(run, search, rows, codec, (config, material.val), say=say)
    run.record_test_read(search.best.spec.name if search.best else "none", run.info["command"])
    return search, codec


def _save(
    run: RunFolder,
    search: Search,
    rows: list[dict[str, Any]],
    folder: Path,
    behind: tuple[CompressConfig, Trial],
    *,
    say: Say,
) -> None:
    """Write the table, the best codec, and its ONNX file where the packages for that are there."""
    config, val = behind
    assert search.best is not None
    about = {
        "run": run.id,
        "numbers": search.dimension,
        "column": config.data.column,
        "target": str(search.target),
        "met_on_val": search.chosen is not None,
        "verdict": search.verdict,
        "says": says_of(search),
        "seed": config.project.seed,
        "rows": rows,
        "notes": search.notes,
    }
    every = [
        {
            "form": spec.name,
            "bytes": spec.bytes,
            "value": one.estimates[search.target.k].value,
            "lower": one.lower[search.target.k],
        }
        for spec, one in sorted(search.val.items())
    ]
    write_atomically(run.path / SEARCH_FILE, to_json({**about, "tried": every}, indent=1) + "\n")
    save_codec(search.best.codec, folder, about=about)
    run.update(codec=str(folder.absolute()))
    say(f"codec {folder}: {search.best.spec.name}, {search.best.spec.bytes} bytes a vector")
    try:
        parity = export_codec(
            search.best.codec, np.asarray(val.x.queries[:256]), folder / "model.onnx", about=about
        )
    except MissingExtraError as error:
        say(f"no ONNX file: {error.what} {error.remedy or ''}".strip())
    else:
        say(f"model {folder / 'model.onnx'}, {parity.summary()}")
