"""The study: as many rows as asked for, each taken once, none lost with its worker."""

from __future__ import annotations

import csv
import io
import select
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from sightline.config import load_config
from sightline.errors import ConfigError, RunError
from sightline.runs import process_identity
from sightline.tuning import study as studies
from sightline.tuning.settings import SEARCH_CONFIGS, Dimension, SearchConfig
from sightline.tuning.space import draw
from sightline.tuning.storage import exclusive, open_storage, shown, storage_url
from sightline.tuning.table import trials_csv, trials_of
from sightline.tuning.tidying import best_trial, drop_checkpoints

DEFINITION = {"config": {"train": {"lr": 0.1}}, "search": {"study": {"direction": "maximize"}}}


@pytest.fixture
def search() -> SearchConfig:
    found = load_config("classify/optuna", ["study.random_trials=3"], tasks=SEARCH_CONFIGS)
    assert isinstance(found, SearchConfig)
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return storage_url(None, tmp_path / "made")


def made(url: str, n_trials: int) -> Any:
    """The storage of a study with so many trials."""
    storage = open_storage(url, create=True)
    studies.create_or_continue(url, storage, "s", DEFINITION, n_trials)
    return storage


def states(url: str) -> Counter[str]:
    return Counter(t.state.name for t in optuna.load_study(study_name="s", storage=url).trials)


def test_there_are_as_many_rows_as_asked_for(url: str, search: SearchConfig) -> None:
    for n_trials, rows in ((3, 3), (3, 3), (5, 5), (2, 5)):
        made(url, n_trials)
        assert states(url) == {"WAITING": rows}
    storage = made(url, 2)
    study = studies.load(storage, "s", search, 0)
    taken = [studies.take(url, study, 2) for _ in range(3)]
    assert [one and one[1] for one in taken] == [0, 1, None]
    assert states(url) == {"RUNNING": 2, "WAITING": 3}


TAKER = """
import sys
from sightline.config import load_config
from sightline.tuning import study as studies
from sightline.tuning.settings import SEARCH_CONFIGS
from sightline.tuning.storage import open_storage
search = load_config("classify/optuna", tasks=SEARCH_CONFIGS)
study = studies.load(open_storage(sys.argv[1], create=False), "s", search, 0)
print("ready", flush=True)
sys.stdin.readline()
while taken := studies.take(sys.argv[1], study, 1000):
    print(taken[1], flush=True)
"""


def taken_by_two(url: str) -> list[int]:
    """The numbers of the trials that two processes took, which began at the same moment."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    with exclusive(url):
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        # Nobody takes a trial while another may be about to.
        taking, _, _ = select.select([worker.stdout for worker in workers], [], [], 0.5)
        assert not taking
    return [int(line) for worker in workers for line in worker.communicate(timeout=60)[0].split()]


def test_workers_that_take_at_once_never_take_the_same(url: str) -> None:
    made(url, 6)
    assert sorted(taken_by_two(url)) == list(range(6))


def test_workers_share_a_study_in_postgresql(postgres: str, search: SearchConfig) -> None:
    url = storage_url(postgres, Path())
    storage = made(url, 6)
    made(url, 6)
    assert sorted(taken_by_two(url)) == list(range(6))
    # Both are gone without having ended their trials.
    study = studies.load(storage, "s", search, 0)
    assert studies.fail_lost_trials(study) == 6
    assert {trial.error for trial in trials_of(study)} == {"its worker was killed"}


def run_trials(url: str, search: SearchConfig, numbers: range) -> list[dict[str, Any]]:
    """Take and finish trials as a worker does, their value a function of what was drawn."""
    drawn = []
    storage = open_storage(url, create=False)  # as after a restart
    for _ in numbers:
        taken = studies.take(url, studies.load(storage, "s", search, 0), 1000)
        assert taken is not None
        study = studies.load(storage, "s", search, taken[1])
        trial = optuna.trial.Trial(study, taken[0])
        drawn.append(draw(trial, search.space))
        value = drawn[-1]["train.label_smoothing"] - drawn[-1]["train.weight_decay"]
        trial.report(value, 0)
        assert studies.close(study, taken[0], value=value, seconds=1.0)
    return drawn


def test_interrupted_search_draws_what_one_without_a_break_draws(
    url: str, search: SearchConfig, tmp_path: Path
) -> None:
    made(url, 5)
    whole = run_trials(url, search, range(5))
    other = storage_url("other.db", tmp_path)
    made(other, 3)
    parts = run_trials(other, search, range(3))
    made(other, 5)
    parts += run_trials(other, search, range(2))
    assert parts == whole
    assert len({tuple(one.values()) for one in whole}) == 5


def test_space_of_a_single_value_is_drawn_too(url: str, search: SearchConfig) -> None:
    made(url, 1)
    space = {"train.batch_size": Dimension(choices=(64,))}
    storage = open_storage(url, create=False)
    taken = studies.take(url, studies.load(storage, "s", search, 0), 1)
    assert taken is not None
    trial = optuna.trial.Trial(studies.load(storage, "s", search, 0), taken[0])
    assert draw(trial, space) == {"train.batch_size": 64}


def test_study_of_another_configuration_is_refused_with_the_differences(url: str) -> None:
    storage = made(url, 2)
    other = {**DEFINITION, "config": {"train": {"lr": 0.2, "epochs": 3}}}
    with pytest.raises(RunError) as caught:
        studies.create_or_continue(url, storage, "s", other, 9)
    assert "config.train.lr: 0.1 -> 0.2" in str(caught.value)
    assert "config.train.epochs: '(absent)' -> 3" in str(caught.value)
    assert states(url) == {"WAITING": 2}


def test_trial_of_a_dead_worker_fails_and_says_so(url: str, search: SearchConfig) -> None:
    storage = made(url, 3)
    study = studies.load(storage, "s", search, 0)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    for _ in range(2):
        assert studies.take(url, study, 3)
    lost, mine, _ = study.get_trials(deepcopy=False)
    identity = {**process_identity(), "pid": int(dead.stdout), "started": "1"}
    storage.set_trial_user_attr(lost._trial_id, "worker", identity)
    assert studies.fail_lost_trials(study) == 1
    trials = trials_of(study)
    assert [trial.state for trial in trials] == ["failed", "running", "waiting"]
    assert trials[0].error == "its worker was killed"
    assert trials[0].value is None
    assert studies.fail_lost_trials(study) == 0
    assert not studies.close(study, lost._trial_id, value=0.9)
    assert trials_of(study)[0].value is None
    assert studies.close(study, mine._trial_id, value=0.5)


def test_trial_whose_heart_stopped_fails_also_on_another_machine(
    url: str, search: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = made(url, 1)
    study = studies.load(storage, "s", search, 0)
    taken = studies.take(url, study, 1)
    assert taken is not None
    storage.set_trial_user_attr(taken[0], "worker", {"host": "elsewhere", "pid": 1})
    assert studies.fail_lost_trials(study) == 0
    assert states(url) == {"RUNNING": 1}
    monkeypatch.setattr(study._storage._backend, "grace_period", -1)
    studies.fail_lost_trials(study)
    assert trials_of(study)[0].error == "its worker was killed"


def test_pruned_and_failed_trials_have_no_score(url: str, search: SearchConfig) -> None:
    storage = made(url, 3)
    for index in range(3):
        taken = studies.take(url, studies.load(storage, "s", search, 0), 3)
        assert taken is not None
        study = studies.load(storage, "s", search, index)
        trial = optuna.trial.Trial(study, taken[0])
        draw(trial, search.space)
        trial.report(0.9 - index / 10, 0)
        end: dict[str, Any] = [{"pruned": True}, {"error": "boom\nat"}, {"value": 0.4}][index]
        batch = [{"batch_size": 8, "accumulate_steps": 2, "instead_of": 16}]
        studies.close(study, taken[0], **end, run=f"runs/d/trial-000{index}_x", batch=batch)
    trials = trials_of(study)
    assert [(t.state, t.value, t.error) for t in trials] == [
        ("pruned", None, None),
        ("failed", None, "boom\nat"),
        ("finished", 0.4, None),
    ]
    assert trials[2].batch == "16 -> 8 x 2"
    assert trials[2].changes == {"train.batch_size": 8, "train.accumulate_steps": 2}
    assert trials[0].as_dict()["intermediate"] == {1: 0.9}
    best = best_trial(study)
    assert best is not None
    assert best.number == 2
    rows = list(csv.DictReader(io.StringIO(trials_csv(trials))))
    assert [row["value"] for row in rows] == ["", "", "0.4"]
    assert rows[2]["train.lr"] == str(trials[2].params["train.lr"])

    # A trial may have runs that it does not name: its worker was killed, or memory ran out.
    for run in ("0000_x", "0001_x", "0001_y", "0002_w", "0002_x", "0003_x"):
        weights = Path(f"made/runs/d/trial-{run}/ckpt/fold0/best_model.pth")
        weights.parent.mkdir(parents=True)
        weights.touch()
    drop_checkpoints(study, Path("made"))
    left = sorted(file.parts[-4] for file in Path("made").rglob("*.pth"))
    assert left == ["trial-0002_x", "trial-0003_x"]


def test_of_equal_trials_the_first_is_best_and_a_loss_is_best_when_small(
    tmp_path: Path, search: SearchConfig
) -> None:
    for direction, number in (("maximize", 1), ("minimize", 0)):
        url = storage_url(f"{direction}.db", tmp_path)
        storage = open_storage(url, create=True)
        definition = {"search": {"study": {"direction": direction}}}
        studies.create_or_continue(url, storage, "s", definition, 3)
        study = studies.load(storage, "s", search, 0)
        assert best_trial(study) is None
        for value in (0.2, 0.7, 0.7):
            taken = studies.take(url, study, 3)
            assert taken is not None
            studies.close(study, taken[0], value=value)
        best = best_trial(study)
        assert best is not None
        assert best.number == number


def test_addresses_of_storages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path}/study.db"
    assert storage_url("a.db", Path("x")) == f"sqlite:///{Path.cwd()}/a.db"
    for scheme in ("postgresql", "postgres", "postgresql+pg8000"):
        assert storage_url(f"{scheme}://u:p@h/d", tmp_path) == "postgresql+pg8000://u:p@h/d"
    assert shown("postgresql+pg8000://u:secret@h/d") == "postgresql+pg8000://u:***@h/d"
    assert shown("postgresql+pg8000://u@h/d") == "postgresql+pg8000://u@h/d"
    with pytest.raises(ConfigError, match="cannot be kept in mysql"):
        storage_url("mysql://h/d", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"sightline\[postgres\]"):
        storage_url("postgresql://u:p@h/d", tmp_path)


def test_storage_that_is_no_database_is_an_error_that_hides_the_password(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database\n" * 100)
    with pytest.raises(RunError, match="cannot be used"):
        open_storage(storage_url("text.db", tmp_path), create=True)
    nowhere = "postgresql://user:secret@127.0.0.1:9/d"
    with pytest.raises(RunError, match="cannot be used") as caught:
        open_storage(storage_url(nowhere, tmp_path), create=True)
    assert "secret" not in str(caught.value)
