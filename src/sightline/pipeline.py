"""`sightline train` from end to end: train, score the chosen epoch, write the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sightline.config import load_config
from sightline.evaluation import evaluate_run
from sightline.experiment import train
from sightline.reports.run_page import write_run_report
from sightline.resume import Resume, find_unfinished, resumed_config
from sightline.runs import RunFolder, log
from sightline.tasks.config import TaskConfig
from sightline.trained import TASK_CONFIGS


def train_and_report(
    source: str | None,
    overrides: Sequence[str],
    *,
    command: Sequence[str],
    resume: Resume | None = None,
    test: bool = False,
    say: Callable[[str], object] | None = print,
) -> RunFolder:
    """Train (or go on), evaluate the best epoch on val, with `test` also on test, and report.

    `say` is None in all but the first of several processes: those take part in training alone.
    """
    run = None
    if resume is None:
        assert source is not None
        config = load_config(source, overrides, tasks=TASK_CONFIGS)
        assert isinstance(config, TaskConfig)
    else:
        run = find_unfinished(resume.run, _exp_dir(source, overrides))
        config = resumed_config(run, source, overrides, anyway=resume.anyway)
    run = train(config, command=command, resume=run)
    if say is None:
        return run
    splits = [name for name in ("val", "test") if run.info["data"][name]]
    if test and "test" not in splits:
        say("test: there is none; the data gives no test split and data.test_fraction made none")
    for split in splits if test else [name for name in splits if name == "val"]:
        result = evaluate_run(run, split, command=command, device=config.train.device)
        for line in result.summary():
            say(f"{split} {line}")
    say(f"run {run.path}")
    say(f"report {write_run_report(run.path)}")
    log("EXIT", f"training finished successfully (see {run.info['log']} for details)")
    return RunFolder.open(run.path)


def _exp_dir(source: str | None, overrides: Sequence[str]) -> Path:
    """Where runs are, before the configuration of the one to resume is known."""
    for override in overrides:
        if override.startswith("output.exp_dir="):
            return Path(override.partition("=")[2])
    if source is not None:
        config = load_config(source, overrides, tasks=TASK_CONFIGS)
        assert isinstance(config, TaskConfig)
        return config.output.exp_dir
    return Path("experiments/train")
