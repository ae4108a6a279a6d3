"""`sightline track`: send a run to trackers, by the process that would have followed it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sightline.config import TrackingConfig, load_config, read_yaml
from sightline.errors import SightlineError, UsageError
from sightline.runs import RunFolder
from sightline.tasks.config import TaskConfig
from sightline.tracking.process import Follower
from sightline.trained import TASK_CONFIGS


def track_run(
    run: RunFolder,
    to: Sequence[str] = (),
    overrides: Sequence[str] = (),
    *,
    again: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Send to each tracker what it does not have of the run; a running run is followed to its end.

    Without `to`, to the trackers of the run's configuration. `overrides` are KEY=VALUE of the
    section `tracking`. `again` sends all of it to a new run of the tracker. Raises UsageError
    without a tracker, and SightlineError where one could not be sent to.
    """
    settings = _settings_of(run, overrides)
    trackers = list(dict.fromkeys(to)) or list(settings.to)
    if not trackers:
        raise UsageError(
            "Nothing says where to send the run.",
            expected="--to wandb, --to tensorboard or --to mlflow",
            where=f"tracking.to in {run.config_file}",
        )
    failed = [one for one in trackers if not _is_sent(run, one, settings, again=again, say=say)]
    if failed:
        raise SightlineError(
            f"The run was not sent to {' and '.join(failed)}; what went wrong stands above.",
            where=run.path / "tracking" / f"{failed[0]}.log",
            remedy="give the same command again: what was sent is not sent twice",
        )


def _settings_of(run: RunFolder, overrides: Sequence[str]) -> TrackingConfig:
    named = [one if one.startswith("tracking.") else f"tracking.{one}" for one in overrides]
    written, _ = read_yaml(run.config_file.read_text(encoding="utf-8"), str(run.config_file))
    if named and isinstance(written.get("tracking"), list):
        named = ["tracking={}", *named]  # the list of an older run, below which nothing can be set
    config = load_config(str(run.config_file), named, tasks=TASK_CONFIGS)
    assert isinstance(config, TaskConfig)
    return config.tracking


def _is_sent(
    run: RunFolder,
    tracker: str,
    settings: TrackingConfig,
    *,
    again: bool,
    say: Callable[[str], object],
) -> bool:
    return Follower(run, tracker, settings, say=say, again=again).wait() == 0
