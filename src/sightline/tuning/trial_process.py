"""One trial, in a process of its own: an ordinary training run with the trial's values."""

from __future__ import annotations

import sys
from typing import Any

from sightline.tuning.lifeline import answer_channel, receive_order


def main() -> None:
    """Train as ordered and answer how it ended; exit code 0 only when it was trained to the end."""
    order = receive_order()
    answer = answer_channel()
    # The error is for whoever ordered the trial; the run and the log hold it as well.
    try:
        answer(_train(order))
    except BaseException as error:
        answer(_how_it_failed(error))
        raise


def _train(order: dict[str, Any]) -> dict[str, Any]:
    from sightline.config import load_config
    from sightline.experiment import train
    from sightline.tasks.config import TaskConfig
    from sightline.trained import TASK_CONFIGS

    config = load_config(order["config"], tasks=TASK_CONFIGS, flags=order["flags"])
    assert isinstance(config, TaskConfig)
    run = train(config, command=order["command"])
    return {"run": str(run.path)}


def _how_it_failed(error: BaseException) -> dict[str, Any]:
    from sightline.errors import Interrupted, SightlineError
    from sightline.training.memory import is_out_of_memory

    text = str(error) if isinstance(error, SightlineError) else repr(error)
    return {
        "error": text,
        "out_of_memory": is_out_of_memory(error),
        "interrupted": isinstance(error, Interrupted | KeyboardInterrupt),
    }


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 (shown in the trial's log, as any program's end is)
        import traceback

        traceback.print_exception(error)
        sys.exit(getattr(error, "exit_code", 1))
