"""Sweep files of W&B: what each key means, and what is said of one that means nothing."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sightline.config.old_names import OLD_NAMES, our_name
from sightline.config.schema import annotations_at
from sightline.errors import ConfigError
from sightline.sweep import SweepOptions, _planned
from sightline.trained import TASK_CONFIGS
from sightline.tuning import study as studies
from sightline.tuning.brackets import BracketPruner
from sightline.tuning.grid import places_in_grid
from sightline.tuning.parameter import TAIL
from sightline.tuning.space import draw
from sightline.tuning.sweep_file import SweepFile, our_metric, read_sweep_file
from sightline.tuning.sweep_settings import SEARCHES, SweepPruning, SweepSearch
from sightline.tuning.sweep_stopping import brackets_of
from sightline.tuning.table import trials_of

HEAD = "method: random\nmetric: {name: val/macro_f1, goal: maximize}\n"
LR = "parameters: {train.lr: {min: 0.001, max: 0.1}}\n"


def read(text: str, *, count: int | None = None, monitor: str | None = "macro_f1") -> SweepFile:
    """The sweep file with this text."""
    Path("sweep.yaml").write_text(text, encoding="utf-8")
    return read_sweep_file("sweep.yaml", count=count, monitor=lambda constants: monitor)


def complaint(text: str) -> str:
    """What is said about a sweep file with this text."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert len(str(caught.value).splitlines()) <= 8
    return str(caught.value)


def searched(spec: str, *, method: str = "random", **options: Any) -> SweepSearch:
    """A sweep with the one parameter `p`."""
    head = HEAD.replace("random", method)
    return read(f"{head}parameters: {{p: {spec}, q: {{values: [1, 2]}}}}\n", **options).search


def drawn(spec: str, n: int = 300) -> list[Any]:
    """What `n` trials of a random search get for a parameter."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = searched(spec)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [draw(study.ask(), search.space)["p"] for _ in range(n)]


def test_example_of_the_requirements_is_read() -> None:
    found = read(
        "program: tools/train.py\n"
        "method: bayes\n"
        "metric: {name: val/mAP, goal: maximize}\n"
        "parameters:\n"
        "  train.lr: {values: [2.5e-4, 3.5e-4, 5e-4, 7e-4]}\n"
        "  train.weight_decay: {values: [1e-4, 5e-4, 1e-3]}\n"
        "  train.batch_size: {values: [32, 64, 96]}\n"
        "  train.epochs: {value: 60}\n",
        count=20,
    )
    study = found.search.study
    assert (study.n_trials, study.sampler, study.metric) == (20, "tpe", "map")
    assert study.direction == "maximize"
    assert found.search.space["train.lr"].choices == (2.5e-4, 3.5e-4, 5e-4, 7e-4)
    assert found.search.space["train.batch_size"].choices == (32, 64, 96)
    assert found.constants == {"train.epochs": 60}
    assert found.notes == [
        "program tools/train.py is not run: every trial is a training by sightline"
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"methd: grid\n{LR}", ["no key methd", "did you mean method?", "sweep.yaml:1", "run_cap"]),
        (f"{HEAD}count: 20\n{LR}", ["count is no key", "--count N", "run_cap", "sweep.yaml:3"]),
        (f"{HEAD}controller: {{type: local}}\n{LR}", ["no key controller"]),
        (f"{HEAD}early_terminat: {{}}\n{LR}", ["did you mean early_terminate?"]),
        (f"{HEAD}parameters: {{train.lr: {{mim: 1, max: 2}}}}\n", ["no key mim in parameters.train",
                                                                   "did you mean min?"]),
        (f"{HEAD}{LR}early_terminate: {{type: hyperband, miniter: 1}}\n",
         ["no key miniter in early_terminate", "did you mean min_iter?", "sweep.yaml:4"]),
        (f"method: random\nmetric: {{nme: val/mAP}}\n{LR}", ["no key nme in metric", "name"]),
        (f"method: genetic\n{LR}", ["no method genetic", "grid, random, bayes"]),
        (LR, ["by which method"]),
        ("method: [grid]\n" + LR, ["by which method"]),
        ("method: random\n", ["parameters cannot be used", "got:      nothing"]),
        (f"method: random\nmetric: {{name: val/mAP}}\n{LR}", ["goal is missing", "goal: maximize"]),
        (f"method: random\nmetric: {{name: val/mAP, goal: minimize}}\n{LR}", ["larger value"]),
        (f"method: random\nmetric: {{name: val/loss, goal: maximize}}\n{LR}", ["smaller value"]),
        (f"method: random\nmetric: {{name: loss, goal: min}}\n{LR}", ["no goal min", "minimize"]),
        (f"method: random\nmetric: val/mAP\n{LR}", ["metric cannot be used"]),
        (f"{HEAD}run_cap: 0\n{LR}", ["run_cap is no number"]),
        (f"{HEAD}name: 7\n{LR}", ["name cannot be used", "expected: text"]),
        (f"{HEAD}parameters: {{train.lr: {{value: 0.1}}}}\n", ["searches nothing"]),
        (f"{HEAD}parameters: {{train.lr: 0.1}}\n", ["parameters.train.lr cannot be used"]),
        (f"{HEAD}parameters: {{train.lr: {{}}}}\n", ["does not say what it may be"]),
        (f"{HEAD}parameters: {{p: {{min: 1}}}}\n", ["does not say what it may be"]),
        (f"{HEAD}parameters: {{p: {{min: 2, max: 1}}}}\n", ["low 2 is above high 1"]),
        (f"{HEAD}parameters: {{p: {{min: 1, max: 2, q: 1}}}}\n", ["int_uniform q is not read"]),
        (f"{HEAD}parameters: {{p: {{min: a, max: 2}}}}\n", ["p.min is no number", "'a'"]),
        (f"{HEAD}parameters: {{p: {{distribution: log_unifrm, min: 1, max: 2}}}}\n",
         ["no distribution log_unifrm", "did you mean log_uniform?"]),
        (f"{HEAD}parameters: {{p: {{distribution: log_uniform_values, min: 0, max: 2}}}}\n",
         ["min must be > 0"]),
        (f"{HEAD}parameters: {{p: {{distribution: q_uniform, min: 1, max: 2, q: 5}}}}\n",
         ["no multiple of q=5"]),
        (f"{HEAD}parameters: {{p: {{distribution: normal, sigma: 0}}}}\n", ["sigma must be > 0"]),
        (f"{HEAD}parameters: {{p: {{values: []}}}}\n", ["values is empty"]),
        (f"{HEAD}parameters: {{p: {{values: [1, 2, 1]}}}}\n", ["has a value twice"]),
        (f"{HEAD}parameters: {{p: {{values: [1, 2], probabilities: [0.5, 0.6]}}}}\n", ["sum to 1"]),
        (f"{HEAD}parameters: {{p: {{values: [1, 2], probabilities: [1]}}}}\n", ["2 numbers"]),
        (f"{HEAD}parameters: {{p: {{parameters: {{}}, value: 1}}}}\n", ["no key value"]),
        (f"{HEAD}parameters: {{a: {{parameters: {{b: {{values: [1, 2]}}}}}}, a.b: {{value: 1}}}}\n",
         ["a.b is given twice"]),
        (f"{HEAD}{LR}early_terminate: {{type: envelope, min_iter: 1}}\n", ["no type envelope"]),
        (f"{HEAD}{LR}early_terminate: {{type: hyperband}}\n", ["when trials are compared"]),
        (f"{HEAD}{LR}early_terminate: {{type: hyperband, max_iter: 9}}\n", ["together with s"]),
        (f"{HEAD}{LR}early_terminate: {{type: hyperband, min_iter: 0}}\n", ["integer >= 1"]),
        (f"{HEAD}{LR}early_terminate: {{type: hyperband, min_iter: 2, eta: 1}}\n", ["number > 1"]),
        (f"{HEAD}{LR}early_terminate: {{type: hyperband, max_iter: 2, s: 1}}\n", ["no epoch in"]),
        (HEAD.replace("random", "grid") + LR, ["A grid needs a finite number"]),
        ("method: grid\nparameters: {p: {values: [1, 2], probabilities: [0.5, 0.5]}}\n",
         ["A grid needs a finite number"]),
        ("- method: grid\n", ["does not hold a mapping"]),
        ("method: [grid\n", ["This is not YAML"]),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_explained(text: str, words: list[str]) -> None:
    said = complaint(text)
    for word in words:
        assert word in said, said


def test_file_that_is_not_there_is_explained() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_sweep_file("nowhere.yaml", count=None, monitor=lambda constants: None)


@pytest.mark.parametrize("name", ["SOLVER.BASE_LR", "solver.base_lr"])
def test_old_name_is_answered_with_ours(name: str) -> None:
    said = complaint(f"{HEAD}parameters:\n  {name}: {{values: [0.1, 0.2]}}\n")
    assert f"{name} is a name of the old configuration" in said
    assert "do:       write train.lr" in said
    assert "sweep.yaml:4" in said
    nested = "parameters: {SOLVER: {parameters: {STEPS: {values: [[40, 70], [30, 60]]}}}}\n"
    assert "write train.milestones" in complaint(HEAD + nested)
    gone = "parameters: {SOLVER.RANGE_K: {values: [1, 2]}}\n"
    assert "range loss is not part of the baseline" in complaint(HEAD + gone)


def test_every_old_name_has_a_counterpart_or_a_reason() -> None:
    assert {our_name(old) is not None for old in OLD_NAMES} == {True}
    assert our_name("MODEL.NAMES") is None
    ours = {new for new in OLD_NAMES.values() if " " not in new}
    assert {our_name(new) for new in ours} == {None}
    for old, new in OLD_NAMES.items():
        if " " not in new:
            assert annotations_at(TASK_CONFIGS["reid"], new.split(".")), (old, new)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("val/mAP", "map"), ("mAP", "map"), ("valid/mINP", "minp"), ("val/rank-1", "rank_1"),
        ("val/cmc_rank_10", "rank_10"), ("val/rank1", "rank_1"), ("validation/loss", "loss"),
        ("valid_loss", "loss"), ("loss", "loss"), ("macro_f1", "macro_f1"),
        ("val/recall_at_1", "recall_at_1"), ("val_acc", "accuracy"), ("map_at_r", "map_at_r"),
        ("value", "value"),
    ],
)  # fmt: skip
def test_metric_has_our_name(name: str, ours: str) -> None:
    assert our_metric(name) == ours


def test_metric_is_the_trainings_own_where_none_is_named() -> None:
    asked = []

    def monitor(constants: Any) -> str | None:
        asked.append(dict(constants))
        return None

    Path("sweep.yaml").write_text(
        "method: random\nparameters: {a: {value: 1}, b: {min: 1, max: 2}}"
    )
    study = read_sweep_file("sweep.yaml", count=None, monitor=monitor).search.study
    assert (study.metric, study.direction) == ("loss", "minimize")
    assert asked == [{"a": 1}]
    study = read(f"method: random\n{LR}", monitor="map").search.study
    assert (study.metric, study.direction) == ("map", "maximize")


def test_count_is_capped_by_the_file() -> None:
    assert read(HEAD + LR).search.study.n_trials == 10
    assert read(HEAD + LR, count=30).search.study.n_trials == 30
    capped = f"{HEAD}run_cap: 5\n{LR}"
    assert read(capped).search.study.n_trials == 5
    assert read(capped, count=3).search.study.n_trials == 3
    more = read(capped, count=8)
    assert more.search.study.n_trials == 5
    assert more.notes == ["run_cap of the file ends the sweep after 5 trials, before --count"]


def test_parts_of_a_command_that_are_lost_are_named() -> None:
    usual = "program: train.py\ncommand: ['${env}', python3, '${program}', '${args}']\n"
    assert read(usual + HEAD + LR).notes[-1] == "command is not used"
    own = usual.replace("'${program}'", "train.py, --config_file, a.yml")
    lost = "command is not used; of it these are not passed on: --config_file a.yml"
    assert read(own + HEAD + LR).notes[-1] == lost


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [
        ("{min: 1, max: 5}", 1, 5),
        ("{min: 1, max: 5.0}", 1.0, 5.0),
        ("{distribution: q_uniform, min: 10, max: 100, q: 32}", 32, 96),
        ("{distribution: q_uniform, min: 0.0, max: 0.31, q: 0.1}", 0.0, 0.3),
        ("{distribution: log_uniform_values, min: 1.0e-5, max: 0.1}", 1e-5, 0.1),
        ("{distribution: inv_log_uniform_values, min: 1.0e-5, max: 0.1}", 1e-5, 0.1),
        ("{distribution: log_uniform, min: -4, max: -1}", math.exp(-4), math.exp(-1)),
        ("{distribution: inv_log_uniform, min: 1, max: 4}", math.exp(-4), math.exp(-1)),
        ("{distribution: q_log_uniform_values, min: 10, max: 100, q: 8}", 16, 96),
        ("{distribution: q_log_uniform, min: 2, max: 5}", 8, 148),
    ],
)
def test_range_is_drawn_from_end_to_end(spec: str, low: float, high: float) -> None:
    ends = searched(spec).space["p"].ends()
    assert ends == pytest.approx([low, high])
    values = drawn(spec)
    assert all(low <= value <= high or value == pytest.approx(low) for value in values)
    assert {type(value) for value in values} == {type(low)} == {type(end) for end in ends}
    assert min(values) < low + 0.1 * (high - low)
    assert max(values) > low + 0.8 * (high - low)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{distribution: uniform, min: 2, max: 6}", stats.uniform(2, 4)),
        ("{distribution: log_uniform_values, min: 0.01, max: 1}", stats.loguniform(0.01, 1)),
        ("{distribution: inv_log_uniform, min: 0, max: 3}", stats.loguniform(math.exp(-3), 1)),
        ("{distribution: normal, mu: 2, sigma: 3}", stats.norm(2, 3)),
        ("{distribution: log_normal, mu: -1, sigma: 0.5}", stats.lognorm(0.5, scale=math.exp(-1))),
        ("{distribution: beta, a: 2, b: 5}", stats.beta(2, 5)),
    ],
)
def test_values_have_the_distribution(spec: str, expected: Any) -> None:
    values = drawn(spec, 1000)
    # Kolmogorov and Smirnov's distance, which 1000 draws exceed once in a thousand.
    assert stats.kstest(values, expected.cdf).statistic < 0.062 + TAIL
    low, high = searched(spec).space["p"].ends()
    assert low <= min(values) < max(values) <= high


def test_quantum_makes_multiples() -> None:
    values = drawn("{distribution: q_normal, mu: 0, sigma: 20, q: 8}")
    assert all(type(value) is int and value % 8 == 0 for value in values)
    assert len(set(values)) > 8
    fine = drawn("{distribution: q_log_uniform_values, min: 0.1, max: 0.9, q: 0.1}")
    assert set(fine) <= {round(0.1 * number, 1) for number in range(1, 10)}


def test_probabilities_are_kept() -> None:
    values = drawn("{values: [a, [1, 2], null], probabilities: [0.5, 0.3, 0.2]}", 2000)
    shares = [sum(value == one for value in values) / 2000 for one in ("a", [1, 2], None)]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


def test_value_that_was_made_is_what_the_table_says() -> None:
    search = searched("{distribution: q_log_uniform_values, min: 16, max: 128, q: 16}")
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    values = draw(trial, search.space)
    study.tell(trial, 0.5)
    assert trials_of(study)[0].params == values
    assert type(trials_of(study)[0].params["p"]) is int
    assert json.loads(json.dumps(values)) == values


def test_grid_has_every_combination_once() -> None:
    head = HEAD.replace("random", "grid")
    found = read(
        f"{head}parameters:\n  a: {{values: [x, [1, 2]]}}\n  b: {{min: 3, max: 5}}\n"
        "  c: {distribution: q_uniform, min: 0.0, max: 0.2, q: 0.1}\n  d: {value: 7}\n",
        count=100,
    )
    assert found.search.study.n_trials == 18
    assert "the grid has 18 combinations" in found.notes
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(study_name="s")
    rows = []
    for number in range(18):
        study = studies.load(made._storage, "s", found.search, number)
        rows.append(draw(study.ask(), found.search.space))
    expected = itertools.product(["x", [1, 2]], [3, 4, 5], [0.0, 0.1, 0.2])
    assert [tuple(row.values()) for row in rows] == list(expected)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_places_in_a_grid_are_those_of_nested_loops(sizes: list[int]) -> None:
    loops = itertools.product(*(range(size) for size in sizes))
    for number, places in enumerate(loops):
        assert places_in_grid(sizes, number) == list(places)


@pytest.mark.parametrize(
    ("keys", "brackets"),
    [
        ((3, None, 4, 3.0), (3, 9, 27, 81)),
        ((None, 27, 2, 3.0), (3, 9)),
        ((None, 27, 9, 3.0), (1, 3, 9)),
        ((1, 10, None, 2.0), (1, 2, 4, 8)),
        ((2, None, 3, 1.5), (2, 3, 4)),
        ((3, 27, None, 3.0), (3, 9)),
    ],
)
def test_brackets_are_those_of_wandb(keys: Any, brackets: tuple[int, ...]) -> None:
    assert brackets_of(*keys) == brackets


CURVES = [
    [0.5, 0.6, 0.7, 0.8],  # the first passes every bracket
    [0.4, 0.7, 0.6, 0.9],  # fails after 1 epoch: of two values only the best passes
    [0.6, 0.7, 0.8, 0.9],  # the best after 1, 2 and 4 epochs
    [0.55, 0.59, 0.9, 0.85],  # second of four after 1 epoch, and third of three after 2
]


@pytest.mark.parametrize("sign", [1, -1])
def test_trial_is_stopped_at_a_bracket_that_others_passed_better(sign: int) -> None:
    pruner = BracketPruner(SweepPruning(method="hyperband", brackets=(1, 2, 4), eta=3.0))
    direction = "maximize" if sign > 0 else "minimize"
    study = optuna.create_study(pruner=pruner, direction=direction)
    ran = []
    for curve in CURVES:
        trial = study.ask()
        for epoch, value in enumerate(curve):
            trial.report(sign * value, 10 * epoch)  # epochs without a validation are not counted
            if trial.should_prune():
                break
        ran.append(epoch + 1)
        study.tell(trial, sign * value)
    assert ran == [4, 1, 4, 2]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.sampled_from([1.5, 2.0, 3.0, 4.0]))
def test_share_of_trials_that_go_on(values: list[int], eta: float) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = BracketPruner(SweepPruning(method="hyperband", brackets=(1,), eta=eta))
    study = optuna.create_study(pruner=pruner, direction="maximize")
    for number, value in enumerate(values):
        trial = study.ask()
        trial.report(value, 0)
        better = sum(one > value for one in values[: number + 1])
        assert trial.should_prune() == (better > (number + 1) // eta)


def test_strict_compares_again_after_every_epoch() -> None:
    for strict in (False, True):
        settings = SweepPruning(method="hyperband", brackets=(1,), eta=2.0, strict=strict)
        study = optuna.create_study(pruner=BracketPruner(settings), direction="maximize")
        first, *later = [study.ask() for _ in range(4)]
        first.report(0.5, 0)
        assert not first.should_prune()
        for trial in later:
            trial.report(0.9, 0)
        first.report(0.6, 1)
        assert first.should_prune() == strict


def test_search_of_a_sweep_travels_as_json() -> None:
    from sightline.config import plain_tree

    search = read(
        f"{HEAD.replace('maximize', 'maximize, target: 0.9')}parameters:\n"
        "  a: {values: [[1, 2], [3, 4]]}\n  b: {distribution: q_normal}\n"
        "  c: {values: [x, 1], probabilities: [0.5, 0.5]}\n  d: {min: 1, max: 3}\n"
        "early_terminate: {type: hyperband, min_iter: 3}\n"
    ).search
    text = json.dumps(plain_tree(search))
    again = SEARCHES[json.loads(text)["task"]].model_validate_json(text)
    assert again == search
    assert [again.is_enough(value) for value in (0.89, 0.9)] == [False, True]


def test_definition_in_the_documentation_is_read(repository: Path) -> None:
    text = (repository / "docs" / "tuning.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.S) if "parameters:" in one]
    Path("sweep.yaml").write_text(block, encoding="utf-8")
    said: list[str] = []
    options = SweepOptions(["sightline"], count=4)
    file, plan = _planned("sweep.yaml", None, ["data.root=photos"], options, said.append)
    assert plan.search.study.n_trials == 4
    assert plan.folder.parts[-2] == "sweep"
    assert file.search.pruning.brackets
