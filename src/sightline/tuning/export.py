"""What a search leaves behind: the table of trials, the best configuration, a summary, figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.config import render_config
from sightline.reports.search_figures import write_search_figures
from sightline.reports.search_page import write_search_page
from sightline.runs import write_atomically
from sightline.runs.plain import to_json
from sightline.tuning.settings import SearchConfig
from sightline.tuning.space import Load
from sightline.tuning.table import Trial, shown_value, trials_csv, trials_of
from sightline.tuning.tidying import best_trial

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Exported:
    """The files of a search, and what they say."""

    trials: list[Trial]
    best: Trial | None
    best_config: Path | None
    summary: dict[str, Any]


def export(
    study: optuna.Study, search: SearchConfig, load: Load, folder: Path, *, storage: str
) -> Exported:
    """Write trials.csv, search.json, figures/ and the best configuration from the study.

    `load` gives the configuration for training, without what only trials share; `storage` is the
    address as it may be shown.
    """
    trials, found = trials_of(study), best_trial(study)
    best = None if found is None else trials[found.number]
    ended = [trial for trial in trials if trial.has_ended]
    weights = importance(study, search.study.seed)
    counts = Counter(trial.state for trial in trials)
    best_config = None
    if best is not None:
        best_config = folder / best_config_name(study)
        config = load({**best.params, **best.changes})
        write_atomically(best_config, _head(best, trials, study, search) + render_config(config))
    summary = {
        "study": study.study_name,
        "storage": storage,
        "metric": search.study.metric,
        "direction": search.study.direction,
        "n_trials": len(trials),
        **{state: counts[state] for state in ("finished", "pruned", "failed")},
        **{state: counts[state] for state in ("running", "waiting") if counts[state]},
        "best": None if best is None else {**best.as_dict(), "config": str(best_config)},
        "importance": weights,
    }
    write_atomically(folder / "trials.csv", trials_csv(ended))
    write_atomically(folder / "search.json", to_json(summary, indent=1) + "\n")
    rows, higher = [trial.as_dict() for trial in trials], search.study.direction == "maximize"
    if ended:
        figures = folder / "figures"
        write_search_figures(figures, rows, importance=weights, higher_is_better=higher)
    write_search_page(folder, summary, rows, importance=weights, higher_is_better=higher)
    return Exported(trials, best, best_config, summary)


def best_config_name(study: optuna.Study) -> str:
    """The name of the best configuration: by when the study was made, so that it never changes."""
    created = datetime.fromisoformat(study.user_attrs["created"])
    return f"train_optimized_{created:%Y%m%d_%H%M}.yaml"


def importance(study: optuna.Study, seed: int) -> dict[str, float]:
    """Each key's share of the variance of the finished trials' values (Hutter et al. 2014, fANOVA).

    Empty with fewer than four finished trials, which say nothing of it, or without two different
    values; the shares sum to 1.
    """
    import optuna

    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(finished) < 4 or len({trial.value for trial in finished}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(share) for key, share in found.items()}


def _head(best: Trial, trials: Sequence[Trial], study: optuna.Study, search: SearchConfig) -> str:
    counts = Counter(trial.state for trial in trials)
    found = ", ".join(f"{counts[state]} {state}" for state in ("finished", "pruned", "failed"))
    assert best.value is not None
    lines = [
        f"The best of {len(trials)} trials ({found}) of the study {study.study_name}.",
        f"Trial {best.number}: {search.study.metric} {best.value:.4f} on validation, best epoch.",
        "The search chose it by these validation images: on new ones expect less.",
        *(f"  {key} = {shown_value(value)}" for key, value in best.params.items()),
    ]
    if best.batch:
        lines.append(f"Its batch was made smaller for want of memory: {best.batch}.")
    if search.overrides:
        shared = ", ".join(f"{key}={value}" for key, value in search.overrides.items())
        lines.append(f"Only in the trials: {shared}.")
    return "".join(f"# {line}\n" for line in lines) + "\n"
