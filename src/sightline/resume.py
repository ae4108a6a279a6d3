"""Which run to go on with, and whether it may go on with this configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightline.config import compare_configs, load_config
from sightline.errors import RunError
from sightline.runs import RunFolder, find_run, list_runs, write_atomically
from sightline.tasks.config import TaskConfig
from sightline.trained import TASK_CONFIGS, run_config


def find_unfinished(reference: str, exp_dir: Path) -> RunFolder:
    """The run to resume: the one named, or for `latest` the newest that is not finished."""
    if reference != "latest":
        return find_run(reference, [exp_dir])
    for info in list_runs(exp_dir):
        if info["status"] not in ("finished", "damaged"):
            return RunFolder.open(info["path"])
    raise RunError(
        "There is no unfinished run to resume.",
        where=exp_dir.absolute(),
        remedy="name one: --resume RUN (see `sightline list`)",
    )


def resumed_config(
    run: RunFolder,
    source: str | None,
    overrides: Sequence[str],
    *,
    anyway: Sequence[str] = (),
) -> TaskConfig:
    """The configuration to go on with: the run's own, or the one given where it may differ.

    Raises RunError, listing every difference that `anyway` does not name.
    """
    saved = run_config(run)
    given = load_config(source or str(run.config_file), overrides, tasks=TASK_CONFIGS)
    assert isinstance(given, TaskConfig)
    differences = compare_configs(saved.model_dump(mode="json"), given.model_dump(mode="json"))
    refused = [
        (key, old, new)
        for key, old, new in differences
        if not any(key == name or key.startswith(f"{name}.") for name in anyway)
    ]
    if refused:
        listed = "\n            ".join(f"{key}: {old!r} -> {new!r}" for key, old, new in refused)
        keys = " ".join(f"--resume-anyway {key}" for key, *_ in refused)
        raise RunError(
            "The run was started with another configuration, so resuming would mix two.",
            expected="the configuration saved in config.yaml",
            got=listed,
            where=run.config_file,
            remedy=f"leave the changes out, start a new run, or mean them: {keys}",
        )
    finished = run.info["status"] == "finished"
    if finished and given.train.epochs <= saved.train.epochs:
        raise RunError(
            "The run is finished, so there is nothing to resume.",
            where=run.path,
            remedy="start a new run, or train longer: "
            f"train.epochs={saved.train.epochs + 10} --resume-anyway train.epochs",
        )
    return given


def record_changes(run: RunFolder, config: TaskConfig) -> None:
    """Make the changed configuration the run's own, and keep the old one in run.json."""
    from sightline.config import dump_config

    old = run.config_file.read_text(encoding="utf-8")
    new = dump_config(config)
    if new != old:
        run.update(earlier_configs=[*run.info.get("earlier_configs", []), old])
        write_atomically(run.config_file, new)
