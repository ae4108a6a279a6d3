"""The search file: one schema, checked against the training before anything runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import optuna
import pytest

from sightline.config import load_config, plain_tree, render_config
from sightline.errors import ConfigError
from sightline.trained import TASK_CONFIGS
from sightline.tuning.settings import SEARCH_CONFIGS, SearchConfig
from sightline.tuning.space import draw, loader, require_searchable, search_flags


def searched(text: str, *overrides: str) -> SearchConfig:
    """The search file with this text."""
    file = Path("space.yaml")
    file.write_text(f"task: search\n{text}", encoding="utf-8")
    found = load_config(str(file), overrides, tasks=SEARCH_CONFIGS)
    assert isinstance(found, SearchConfig)
    return found


def complaint(text: str, *settings: str) -> str:
    """What is said about a search file for classify/basic."""
    load = loader("classify/basic", settings, TASK_CONFIGS)
    with pytest.raises(ConfigError) as caught:
        require_searchable(searched(text), load, "space.yaml")
    return str(caught.value)


@pytest.mark.parametrize("name", ["classify/optuna", "classify/optuna-fast"])
@pytest.mark.parametrize("training", ["classify/basic", "classify/fast", "classify/highperf"])
def test_shipped_spaces_fit_shipped_recipes_and_print_back(name: str, training: str) -> None:
    search = load_config(name, tasks=SEARCH_CONFIGS)
    assert isinstance(search, SearchConfig)
    require_searchable(search, loader(training, (), TASK_CONFIGS), name)
    Path("printed.yaml").write_text(render_config(search), encoding="utf-8")
    assert load_config("printed.yaml", tasks=SEARCH_CONFIGS) == search
    assert "train.dropout" not in search.space


def test_shipped_spaces_are_those_that_were_asked_for() -> None:
    search: Any = load_config("classify/optuna", tasks=SEARCH_CONFIGS)
    ranges = {key: (one.low, one.high, one.log, one.choices) for key, one in search.space.items()}
    assert ranges == {
        "train.lr": (1e-5, 1e-2, True, None),
        "train.batch_size": (None, None, False, (16, 32, 64, 128)),
        "train.weight_decay": (0.0, 0.1, False, None),
        "model.drop_rate": (0.0, 0.3, False, None),
        "train.label_smoothing": (0.0, 0.2, False, None),
        "train.grad_clip_norm": (0.5, 2.0, False, None),
    }
    assert (search.study.n_trials, search.study.timeout) == (20, 3600)
    fast: Any = load_config("classify/optuna-fast", tasks=SEARCH_CONFIGS)
    assert (fast.study.n_trials, fast.study.timeout, fast.pruning.patience) == (8, 1800, 1)
    assert (fast.space["train.epochs"].ends(), fast.space["train.epochs"].integer) == ([4, 8], True)
    assert fast.space["train.batch_size"].choices == (32, 48, 64)


def test_unknown_key_is_named_with_the_nearest() -> None:
    text = complaint("space: {train.learning_rate: {low: 0.1, high: 0.2}}")
    assert "train.learning_rate: unknown key; did you mean train.lr?" in text
    assert "space.yaml: space.train.learning_rate" in text
    assert "command line" not in text
    assert "did you mean model.drop_rate?" in complaint(
        "space: {train.dropout: {low: 0.0, high: 0.3}}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("space: {train.lr: {low: 0.0, high: 1.0}}", "train.lr: expected a number > 0; got 0.0"),
        ("space: {model.drop_rate: {low: 0.0, high: 1.5}}", "model.drop_rate"),
        ("space: {train.batch_size: {choices: [16, 0]}}", "train.batch_size"),
        ("space: {train.batch_size: {low: 16, high: 32}}", "train.batch_size"),
        ("space: {train.scheduler: {choices: [cosine, cosinus]}}", "did you mean cosine?"),
        ("space: {train: {choices: [1]}}", "train"),
        ("space: {data.root: {choices: [a, b]}}", "data.root cannot be searched"),
        ("space: {project.seed: {low: 1, high: 9, int: true}}", "project.seed cannot be searched"),
        ("space: {train.monitor: {choices: [accuracy]}}", "train.monitor cannot be searched"),
        ("overrides: {train.lr: 0.1}\nspace: {train.lr: {low: 0.1, high: 1.0}}", "both in over"),
        ("overrides: {train.epoch: 3}\nspace: {train.lr: {low: 0.1, high: 1.0}}", "train.epochs?"),
        ("study: {metric: f1}\nspace: {train.lr: {low: 0.1, high: 1.0}}", "macro_f1"),
        ("space: {train.momentum: {low: 0.5, high: 0.9}}", "momentum is used only with"),
        (
            "space: {train.optimizer: {choices: [sgd, adamw]}, "
            "train.momentum: {low: 0.5, high: 0.8}}",
            "and optimizer is adamw",
        ),
        (
            "space: {train.epochs: {low: 1, high: 9, int: true}, "
            "train.warmup_epochs: {low: 0.1, high: 2.0}}",
            "warmup_epochs 2 leaves nothing of 1 epochs",
        ),
    ],
)
def test_what_does_not_fit_the_training_is_said_before_it_starts(text: str, words: str) -> None:
    assert words in complaint(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("space: {train.lr: {low: 0.2, high: 0.1}}", "low 0.2 is above high 0.1"),
        ("space: {train.lr: {low: 0.0, high: 0.1, log: true}}", "low must be > 0"),
        ("space: {train.lr: {low: 0.1}}", "needs low and high, or choices"),
        ("space: {train.lr: {low: 0.1, high: 0.2, step: 1.0}}", "wider than the range"),
        ("space: {train.lr: {low: 0.1, high: 0.2, choices: [0.1]}}", "either choices"),
        ("space: {train.epochs: {low: 4.5, high: 8, int: true}}", "must be integers"),
        ("space: {train.lr: {lower: 0.1, high: 0.2}}", "did you mean space.train.lr.low"),
        ("space: {}", "space"),
        ("study: {sampler: random, random_trials: 3}\nspace: {a: {choices: [1]}}", "only with"),
        ("pruning: {method: none, patience: 3}\nspace: {a: {choices: [1]}}", "patience is used"),
        ("pruning: {method: hyperband, warmup_epochs: 3}\nspace: {a: {choices: [1]}}", "only with"),
        ("study: {direction: minimize}\nspace: {a: {choices: [1]}}", "a larger is better"),
        ("study: {metric: loss}\nspace: {a: {choices: [1]}}", "a smaller is better"),
        ("study: {n_trials: 0}\nspace: {a: {choices: [1]}}", "study.n_trials"),
        ("study: {name: a/b}\nspace: {a: {choices: [1]}}", "study.name"),
    ],
)
def test_search_file_that_makes_no_sense_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        searched(text)
    assert words in str(caught.value)


def test_keys_that_need_one_another_can_be_searched_together() -> None:
    search = searched(
        "space:\n"
        "  train.mixup: {low: 0.1, high: 0.4}\n"
        "  train.mix_probability: {low: 0.3, high: 0.9}\n"
    )
    require_searchable(search, loader("classify/basic", (), TASK_CONFIGS), "space.yaml")


def test_every_trial_is_judged_by_the_metric_of_the_study() -> None:
    text = "overrides: {train.epochs: 3}\nspace: {train.lr: {low: 0.1, high: 1.0}}"
    assert search_flags(searched(text)) == {
        "tracking.to": [],
        "train.epochs": 3,
        "train.monitor": "macro_f1",
        "output.save_interval": 0,
    }
    loss = searched("study: {metric: loss, direction: minimize}\nspace: {a: {choices: [1]}}")
    assert search_flags(loss)["train.monitor"] is None


def test_values_are_drawn_inside_their_ranges_and_of_their_kind() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = searched(
        "space:\n"
        "  lr: {low: 1.0e-5, high: 1.0e-2, log: true}\n"
        "  epochs: {low: 4, high: 8, int: true}\n"
        "  drop: {low: 0, high: 1}\n"
        "  step: {low: 0.0, high: 1.0, step: 0.25}\n"
        "  batch: {choices: [16, 32]}\n"
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [draw(study.ask(), search.space) for _ in range(200)]
    assert all(list(one) == ["lr", "epochs", "drop", "step", "batch"] for one in drawn)
    assert all(1e-5 <= one["lr"] <= 1e-2 for one in drawn)
    assert 80 < sum(one["lr"] < 10**-3.5 for one in drawn) < 120  # half of the decades
    assert {one["epochs"] for one in drawn} == {4, 5, 6, 7, 8}
    assert any(one["drop"] not in (0, 1) for one in drawn)
    assert {one["step"] for one in drawn} == {0, 0.25, 0.5, 0.75, 1}
    assert {one["batch"] for one in drawn} == {16, 32}


def test_tree_of_a_search_loads_back(tmp_path: Path) -> None:
    search = searched("space: {train.epochs: {low: 4, high: 8, int: true}}")
    again = SearchConfig.model_validate_json(json.dumps(plain_tree(search)))
    assert again == search


def test_space_in_the_documentation_fits(repository: Path) -> None:
    text = (repository / "docs" / "tuning.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(task: search\n.*?)```", text, re.S)
    search = searched(block.removeprefix("task: search\n"))
    require_searchable(search, loader("classify/basic", (), TASK_CONFIGS), "docs")
