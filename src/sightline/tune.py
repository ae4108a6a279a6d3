"""`sightline tune` from end to end: a study of real, pruned training runs, and the best of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sightline.config import load_config
from sightline.trained import TASK_CONFIGS
from sightline.tuning.searching import (
    TUNE,
    SearchOutcome,
    plan_search,
    require_one_process,
    run_search,
)
from sightline.tuning.settings import SEARCH_CONFIGS, SearchConfig
from sightline.tuning.space import loader, require_searchable


def search(  # noqa: PLR0913 (a search is steered by what its command line offers)
    source: str,
    overrides: Sequence[str],
    *,
    space: str,
    command: Sequence[str],
    n_trials: int | None = None,
    workers: int = 1,
    storage: str | None = None,
    timeout: float | None = None,
    study_name: str | None = None,
    recipe: str | None = None,
    say: Callable[[str], object] = print,
) -> SearchOutcome:
    """Train the trials that the study still lacks, and write its table and best configuration.

    `space` is a search recipe or file; what is None is as it says. `recipe` stands in for the
    recipe that the source names, or is. Called again it goes on with the same study.
    Raises ConfigError for a space that does not fit the configuration, RunError for a study of
    another configuration, TrainingError when no trial finished, and Interrupted on a signal; what
    is finished by then is kept.
    """
    require_one_process(TUNE)
    given = {"n_trials": n_trials, "timeout": timeout, "storage": storage, "name": study_name}
    flags = {f"study.{key}": value for key, value in given.items() if value is not None}
    file = load_config(space, tasks=SEARCH_CONFIGS, flags=flags)
    assert isinstance(file, SearchConfig)
    load = loader(source, overrides, TASK_CONFIGS, recipe=recipe)
    require_searchable(file, load, space)
    return run_search(plan_search(TUNE, file, load, workers=workers, command=command), say)
