"""A study: made or continued, its trials given out one by one, the lost ones closed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.config import compare_configs
from sightline.errors import RunError
from sightline.runs import displayed_status, process_identity
from sightline.tuning.settings import PruningConfig, SearchConfig
from sightline.tuning.storage import exclusive
from sightline.tuning.sweep_settings import SweepPruning, SweepSearch

if TYPE_CHECKING:
    import optuna
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage, RDBStorage

KILLED = "its worker was killed"
"""Why a trial failed of which nothing else is known."""
_MOST_ERROR = 2000
_SHOWN = 12


def create_or_continue(
    url: str, storage: RDBStorage, name: str, definition: Mapping[str, Any], n_trials: int
) -> datetime:
    """Make the study, or find it again, with `n_trials` trials in it; returns when it was made.

    Trials are rows that wait to be taken, so that there are never more of them than asked for.
    Raises RunError when the study was made with another configuration or space.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with exclusive(url):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction=definition["search"]["study"]["direction"],
            load_if_exists=True,
        )
        saved = study.user_attrs.get("definition")
        if saved is None:
            study.set_user_attr("created", datetime.now().astimezone().isoformat())
            study.set_user_attr("definition", dict(definition))
        else:
            _require_same(saved, definition, name)
        for _ in range(n_trials - len(study.get_trials(deepcopy=False))):
            study.add_trial(optuna.trial.create_trial(state=TrialState.WAITING))
    return datetime.fromisoformat(study.user_attrs["created"])


def load(storage: BaseStorage, name: str, search: SearchConfig, number: int) -> optuna.Study:
    """The study as one trial sees it: a sampler seeded by (seed, number), and the pruner."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna calls parts of both experimental
        study = optuna.load_study(
            study_name=name,
            storage=storage,
            sampler=_sampler(search, number),
            pruner=_pruner(search.pruning),
        )
    # Optuna's cache refuses to write to a trial that nobody has read through it.
    study.get_trials(deepcopy=False)
    return study


def take(url: str, study: optuna.Study, n_trials: int) -> tuple[int, int] | None:
    """Take the first waiting trial for this process: its id and number; None when none waits."""
    from optuna.trial import TrialState

    storage = study._storage
    with exclusive(url):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            if trial.number >= n_trials:
                break
            number, key = trial.number, trial._trial_id
            # First the heartbeat: a trial that is running without one would never be missed.
            record_heartbeat(storage, key)
            storage.set_trial_user_attr(key, "worker", process_identity())
            if storage.set_trial_state_values(key, state=TrialState.RUNNING):
                return key, number
    return None


def record_heartbeat(storage: BaseStorage, trial_id: int) -> None:
    """Say in the storage that the trial's worker is alive."""
    from optuna.storages._heartbeat import BaseHeartbeat

    assert isinstance(storage, BaseHeartbeat)
    storage.record_heartbeat(trial_id)


def close(
    study: optuna.Study,
    trial_id: int,
    *,
    value: float | None = None,
    pruned: bool = False,
    **facts: Any,
) -> bool:
    """End a running trial: with a value finished, `pruned`, or else failed, for facts["error"].

    The facts are written first. Returns False when another process had already closed it.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    storage = study._storage
    state = TrialState.COMPLETE if value is not None else TrialState.FAIL
    if pruned:
        state = TrialState.PRUNED
        trial = storage.get_trial(trial_id)
        assert trial.last_step is not None
        value = trial.intermediate_values[trial.last_step]
    try:
        for name, fact in facts.items():
            shortened = fact[:_MOST_ERROR] if isinstance(fact, str) else fact
            storage.set_trial_user_attr(trial_id, name, shortened)
        return bool(
            storage.set_trial_state_values(
                trial_id, state=state, values=None if value is None else [value]
            )
        )
    except UpdateFinishedTrialError:
        return False


def fail_lost_trials(study: optuna.Study) -> int:
    """Close the running trials whose worker is gone; returns how many of this machine there were.

    A worker of this machine is seen to be gone at once, another one after GRACE_SECONDS.
    """
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    lost = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = {"status": "running", "process": trial.user_attrs.get("worker")}
        if displayed_status(worker) == "died":
            lost += close(study, trial._trial_id, error=KILLED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fail_stale_trials(study)
    return lost


def _sampler(search: SearchConfig, number: int) -> BaseSampler:
    import optuna

    settings = search.study
    if isinstance(search, SweepSearch) and search.grid:
        from sightline.tuning.grid import GridSampler

        return GridSampler(search)
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        seed=seed,
        n_startup_trials=settings.random_trials,
        multivariate=True,
        # Other workers' running trials count as bad ones, or all would try the same place.
        constant_liar=True,
    )


def _pruner(settings: PruningConfig) -> BasePruner:
    import optuna

    if settings.method == "none":
        return optuna.pruners.NopPruner()
    if isinstance(settings, SweepPruning):
        from sightline.tuning.brackets import BracketPruner

        return BracketPruner(settings)
    pruner: BasePruner = optuna.pruners.HyperbandPruner()
    if settings.method == "median":
        pruner = optuna.pruners.MedianPruner(settings.startup_trials, settings.warmup_epochs)
    if settings.patience:
        pruner = optuna.pruners.PatientPruner(pruner, settings.patience)
    return pruner


def _require_same(saved: Mapping[str, Any], given: Mapping[str, Any], name: str) -> None:
    differences: Sequence[tuple[str, Any, Any]] = compare_configs(saved, given)
    if not differences:
        return
    listed = [f"{key}: {old!r} -> {new!r}" for key, old, new in differences[:_SHOWN]]
    if len(differences) > _SHOWN:
        listed.append(f"and {len(differences) - _SHOWN} more")
    raise RunError(
        f"The study {name} belongs to another configuration, and their trials would be mixed.",
        expected="the configuration and the search space that the study was made with",
        got="\n            ".join(listed),
        remedy="leave the changes out, or give the new search a name of its own: --study-name NAME",
    )
