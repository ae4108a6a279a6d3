"""MLflow: a server, or a database file beside the runs."""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightline.errors import MissingExtraError, RunError
from sightline.tracking.environment import without_secrets
from sightline.tracking.network import answers
from sightline.tracking.sink import Begun, Ending, Tracked

_STATUS: Mapping[Ending, str] = {
    "finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED", "crashed": "FAILED",
}  # fmt: skip
_AT_ONCE = 100
_LONGEST = 6000
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""What is not asked for is not sent, and nobody is waited for as long as MLflow would."""


class MlflowSink:
    """One run of MLflow."""

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked
        self._mlflow: Any = None
        self._client: Any = None
        self._run = ""

    def begin(self, known: Begun | None, attempt: int) -> Begun:
        """Open the run, the one that is known where the server still has it."""
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        uri = tracking_uri(self._tracked, os.environ)
        where = without_secrets(uri, os.environ)
        if uri.startswith("http") and not answers(uri):
            raise RunError(
                f"The MLflow server {where} does not answer.",
                remedy="when it does again: sightline track RUN --to mlflow",
            )
        try:
            self._mlflow = importlib.import_module("mlflow")
        except ImportError as error:
            raise MissingExtraError("mlflow", "mlflow", "Tracking with MLflow") from error
        self._client = self._mlflow.MlflowClient(tracking_uri=uri)
        self._tracked.say(f"sending to {where}")
        if known is not None and known.where == where and self._continues(known.id):
            self._run = known.id
            return Begun(known.id, where, is_new=False)
        self._run = self._create(uri)
        return Begun(self._run, where, is_new=True)

    def log(self, values: Mapping[str, float], step: int, *, axis: str, time: float) -> None:
        """Add a batch of metrics."""
        self._send(values.items(), step, time)

    def summarize(self, values: Mapping[str, float]) -> None:
        """Add metrics without a step of their own."""
        self._send(values.items(), 0, time.time())

    def pictures(self, name: str, shown: Sequence[tuple[Path, str]], step: int) -> None:
        """Keep the files as artifacts of the step."""
        for file, _ in shown:
            self._client.log_artifact(self._run, str(file), f"{name}/step_{step}")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Keep the table as a JSON artifact, columns and data apart."""
        table = {"columns": list(columns), "data": [list(row) for row in rows]}
        self._client.log_dict(self._run, table, f"tables/{name}.json")

    def curve(self, name: str, values: Sequence[float]) -> None:
        """Add a metric with the rank in the place of the step."""
        for rank, value in enumerate(values, 1):
            self._send([(f"curve/{name}", value)], rank, time.time())

    def artifact(self, file: Path, facts: Mapping[str, str]) -> None:
        """Keep the model file."""
        self._client.log_artifact(self._run, str(file), "model")
        self._client.log_dict(self._run, dict(facts), "model/model.json")

    def flush(self) -> None:
        """Nothing is to be done: every call waits for the server."""

    def finish(self, ending: Ending) -> None:
        """Close the run with its status, and say in a tag what MLflow has no word for."""
        self._client.set_tag(self._run, "sightline.status", ending)
        self._client.set_terminated(self._run, _STATUS[ending])

    def _continues(self, run: str) -> bool:
        """Whether the server has the run; it is running again then."""
        try:
            self._client.update_run(run, status="RUNNING")
        except self._mlflow.MlflowException:
            return False
        return True

    def _create(self, uri: str) -> str:
        tracked, mlflow = self._tracked, self._mlflow
        tags = {"sightline.run": tracked.run.id, "sightline.task": str(tracked.run.info["task"])}
        tags |= dict.fromkeys(tracked.settings.tags, "true")
        made = self._client.create_run(self._experiment(uri), run_name=tracked.name, tags=tags)
        run = str(made.info.run_id)
        tree = {**tracked.config, "run": tracked.facts()}
        params = [
            mlflow.entities.Param(_allowed(key), str(value)[:_LONGEST])
            for key, value in _flat(tree, "")
        ]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(run, params=params[start : start + _AT_ONCE])
        return run

    def _experiment(self, uri: str) -> str:
        """The experiment's id; it is made where there is none."""
        asked = self._tracked.settings.project
        name = asked or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "sightline"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, _artifact_folder(uri)))
            except self._mlflow.MlflowException:
                # Another run made it in the meantime, or the answer says why not.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _send(self, values: Any, step: int, seconds: float) -> None:
        make, stamp = self._mlflow.entities.Metric, int(seconds * 1000)
        metrics = [make(_allowed(name), float(value), stamp, step) for name, value in values]
        if metrics:
            self._client.log_batch(self._run, metrics=metrics)


def tracking_uri(tracked: Tracked, environment: Mapping[str, str]) -> str:
    """Where MLflow is: the configuration's, that of MLFLOW_TRACKING_URI, or mlflow.db by the runs.

    The files of MLflow 2 are no default: MLflow 3 refuses them.
    """
    asked = tracked.settings.uri or environment.get("MLFLOW_TRACKING_URI")
    return asked or f"sqlite:///{tracked.run.path.parent.parent / 'mlflow.db'}"


def _artifact_folder(uri: str) -> str | None:
    """Beside a database file; a server has a place of its own."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlflow-artifacts").as_uri()


def _flat(tree: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _allowed(name: str) -> str:
    """The name with what MLflow refuses replaced."""
    return re.sub(r"[^\w\-. /]", "_", name)
