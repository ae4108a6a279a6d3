"""Optimizer steps per second of a small training that W&B follows offline, or nobody."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any


def main(to: str, epochs: int, data: str) -> None:
    """Train in an empty folder and report."""
    from sightline.config import load_config
    from sightline.experiment import train
    from sightline.runs import read_rows
    from sightline.tasks.config import TaskConfig
    from sightline.trained import TASK_CONFIGS

    os.environ["WANDB_MODE"] = "offline"
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            f"data.digits={data}", f"train.epochs={epochs}", f"output.exp_dir={folder}/runs",
            f"output.logs_dir={folder}/logs", "data.workers=0", "train.device=cpu",
            f"tracking.to={[to] if to != 'none' else []}",
        ]  # fmt: skip
        config = load_config("classify/digits", settings, tasks=TASK_CONFIGS)
        assert isinstance(config, TaskConfig)
        run = train(config, command=["sightline", "train"])
        rows = read_rows(run.metrics_file)
        started = run.info["times"]["started"]
        is_followed = (run.path / "tracking" / f"{to}.json").is_file()
    if is_followed != (to != "none"):
        sys.exit("the run was not followed as it should have been")
    print(json.dumps(_report(rows, started)))


def _report(rows: list[dict[str, Any]], started: str) -> dict[str, Any]:
    """Steps per second from the start of the follower to the last epoch, and after the start."""
    ends = [datetime.fromisoformat(time).timestamp() for time in (started, rows[-1]["time"])]
    times = [row["time_s"] for row in rows]
    each = rows[0]["step"]
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "value": rows[-1]["step"] / (ends[1] - ends[0]),
        "steps_per_second_later": each / statistics.median(times[len(times) // 2 :]),
        "processor_seconds": used.ru_utime + used.ru_stime,
        "follower_processor_seconds": _of_children(),
        "last_loss": rows[-1]["train_loss"],
    }


def _of_children() -> float:
    """Of processes that ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), str(Path(sys.argv[3]).absolute()))
