"""Which value wins, where paths lead, and what a file may build on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from sightline.config import (
    EvalConfig,
    ProjectConfig,
    Section,
    TrackingConfig,
    compare_configs,
    load_config,
    recipe_names,
    recipe_path,
    recipe_summary,
    recipes,
)
from sightline.errors import ConfigError

pytestmark = pytest.mark.phase_00


class Data(Section):
    """Where the pictures are."""

    root: Path | None = None
    """Folder of pictures."""
    more: tuple[Path, ...] = ()
    """Further folders."""
    cache: Path = Path("cache")
    """Folder for decoded pictures."""
    source: Path | Literal["digits"] = "digits"
    """A folder, or the digits that come along."""
    named: dict[str, Path] = Field(default_factory=dict)
    """Folders by name."""


class Train(Section):
    """How long."""

    lr: float = Field(default=1e-3, gt=0)
    """Learning rate."""
    epochs: int = 10
    """Passes."""
    milestones: tuple[int, ...] = ()
    """Epochs of the drops."""


class Calibrate(Section):
    """How to calibrate."""

    bins: int = 15
    """Bins."""
    file: Path | None = None
    """Where."""


class Config(Section):
    """A task."""

    task: Literal["first"]
    """The task."""
    project: ProjectConfig = ProjectConfig()
    """Name and seed."""
    data: Data = Data()
    """Where."""
    train: Train = Train()
    """How."""
    eval: EvalConfig = EvalConfig()
    """Judge."""
    calibrate: Calibrate | None = None
    """Only if asked for."""
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Weight of each class."""
    tracking: TrackingConfig = TrackingConfig()


class Other(Section):
    """Another task."""

    task: Literal["second"]
    """The task."""
    k: int = 1
    """Neighbours."""


TASKS = {"first": Config, "second": Other}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory, beside it a folder of shipped recipes."""
    work = tmp_path / "work"
    for path in (work, tmp_path / "recipes/first"):
        path.mkdir(parents=True)
    monkeypatch.chdir(work)
    monkeypatch.setattr(recipes, "_FOLDER", tmp_path / "recipes")
    text = "# Enough for most.\n# More words.\ntask: first\ntrain:\n  lr: 0.1\n  epochs: 20\n"
    (tmp_path / "recipes/first/basic.yaml").write_text(text)
    (tmp_path / "recipes/first/fast.yaml").write_text("recipe: first/basic\ntrain: {epochs: 2}\n")
    return work


def write(folder, text, name="my.yaml"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def load(source, *overrides, flags=None):
    return load_config(source, overrides, tasks=TASKS, flags=flags)


def test_a_recipe_alone(folder):
    config = load("first/basic")
    assert isinstance(config, Config)
    assert (config.train.lr, config.train.epochs, config.project.seed) == (0.1, 20, 42)


def test_later_sources_win(folder):
    file = write(folder, "recipe: first/basic\ntrain: {epochs: 30}\nproject: {seed: 1}\n")
    assert load(file).train == Train(lr=0.1, epochs=30)
    config = load(file, "train.epochs=40", "project.seed=2", flags={"project.seed": 3})
    assert config.train == Train(lr=0.1, epochs=40)
    assert config.project.seed == 3
    assert load(file, "train.epochs=40", "train.epochs=50").train.epochs == 50


def test_a_recipe_may_build_on_a_recipe(folder):
    assert load("first/fast").train == Train(lr=0.1, epochs=2)


def test_lists_and_dictionaries(folder):
    file = write(folder, "task: first\ntrain: {milestones: [1, 2, 3]}\nweights: {a: 1, b: 2}\n")
    config = load(file, "train.milestones=[9]", "weights.b=3", "weights.c=4", "weights={d: 5}")
    assert config.train.milestones == (9,)
    assert config.weights == {"a": 1, "b": 3, "c": 4, "d": 5}


def test_an_optional_section_is_made_by_a_key_below_it(folder):
    file = write(folder, "task: first\ncalibrate: null\n")
    assert load(file).calibrate is None
    assert load(file, "calibrate.bins=5").calibrate == Calibrate(bins=5)
    file = write(folder, "task: first\ncalibrate: {bins: 3}\n")
    assert load(file, "calibrate=").calibrate is None


def test_the_task_chooses_the_class_and_may_be_overridden(folder):
    file = write(folder, "task: first\n")
    assert isinstance(load(file, "task=second", "k=3"), Other)
    assert load(file, flags={"task": "second", "k": 4}).k == 4


def test_the_configuration_is_frozen(folder):
    config = load("first/basic")
    with pytest.raises(ValueError, match="frozen"):
        config.train = Train()


def test_a_float_takes_an_integer(folder):
    assert load("first/basic", "train.lr=3").train.lr == 3.0


def test_paths_of_a_file_start_from_its_folder(folder):
    """CLS-52, and the same rule for ./ as for every other path."""
    text = """
task: first
data:
  root: ../pictures
  more: [./a, b, /abs/c]
  source: d
  named: {x: e}
"""
    data = load(write(folder, text, "configs/my.yaml")).data
    assert data.root == folder / "pictures"
    assert data.more == (folder / "configs/a", folder / "configs/b", Path("/abs/c"))
    assert data.source == folder / "configs/d"
    assert data.named == {"x": folder / "configs/e"}
    assert data.cache == folder / "cache"


def test_a_relative_config_file_is_followed_as_well(folder):
    write(folder, "task: first\ndata: {root: x}\n", "configs/my.yaml")
    assert load("configs/my.yaml").data.root == folder / "configs/x"


def test_paths_of_the_command_line_start_from_the_working_directory(folder):
    file = write(folder, "task: first\ndata: {root: x, more: [y]}\n", "configs/my.yaml")
    data = load(file, "data.root=../z", "data.more=[./q]", flags={"data.cache": Path("k")}).data
    assert data.root == folder.parent / "z"
    assert data.more == (folder / "q",)
    assert data.cache == folder / "k"


def test_a_word_that_is_a_choice_is_no_path(folder):
    assert load("first/basic", "data.source=digits").data.source == "digits"


def test_a_path_in_an_optional_section(folder):
    file = write(folder, "task: first\ncalibrate: {file: t.json}\n", "configs/my.yaml")
    assert load(file).calibrate.file == folder / "configs/t.json"
    assert load("first/basic", "calibrate.file=t.json").calibrate.file == folder / "t.json"


def test_paths_of_a_recipe_start_from_the_working_directory(folder):
    recipe_path("first/basic").write_text("task: first\ndata: {root: pictures}\n")
    file = write(folder, "recipe: first/basic\ndata: {cache: c}\n", "configs/my.yaml")
    assert load(file).data.root == folder / "pictures"
    assert load(file).data.cache == folder / "configs/c"


def test_home_is_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", "/of/somebody")
    file = write(folder, "task: first\ndata: {root: ~/x, more: ['~']}\n")
    data = load(file, "data.cache=~/y").data
    assert data.root == Path("/of/somebody/x")
    assert data.more == (Path("/of/somebody"),)
    assert data.cache == Path("/of/somebody/y")


def test_a_path_from_the_environment(folder, monkeypatch):
    monkeypatch.setenv("PICTURES_X", "/pics")
    file = write(folder, "task: first\ndata: {root: '${ENV:PICTURES_X}/a'}\n")
    assert load(file).data.root == Path("/pics/a")


def test_a_link_in_a_path_is_kept(folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    assert load("first/basic", "data.root=link/x").data.root == folder / "link/x"


def test_a_path_that_came_from_a_default_does_not_count_as_set(folder):
    data = load("first/basic", "data.root=x").data
    assert data.model_fields_set == {"root"}


@pytest.mark.parametrize("name", ["my.yaml", "my.yml", "my.txt"])
def test_a_file_is_known_by_its_ending_or_by_being_there(folder, name):
    assert load(write(folder, "task: second\n", name)).task == "second"


def test_a_folder_of_the_same_name_does_not_hide_a_recipe(folder):
    (folder / "first/basic").mkdir(parents=True)
    assert load("first/basic").train.epochs == 20


def test_recipes_are_listed_with_a_summary(folder):
    assert recipe_names() == ["first/basic", "first/fast"]
    assert recipe_path("first/basic").is_file()
    assert recipe_summary("first/basic") == "Enough for most."
    assert recipe_summary("first/fast") == ""


def test_shipped_recipes_have_a_summary():
    for name in recipe_names():
        assert recipe_summary(name), name


@pytest.mark.parametrize(
    ("name", "near"), [("first/basik", "first/basic"), ("basic", "first/basic")]
)
def test_an_unknown_recipe_names_near_ones(folder, name, near):
    with pytest.raises(ConfigError) as caught:
        load(name)
    assert f"did you mean {near}" in str(caught.value)
    assert "`sightline recipes`" in str(caught.value)


def test_an_unknown_base_recipe_names_its_line(folder):
    file = write(folder, "task: first\nrecipe: first/basik\n")
    with pytest.raises(ConfigError, match=r"my\.yaml:2") as caught:
        load(file)
    assert "did you mean first/basic" in str(caught.value)


def test_a_base_that_is_no_text_or_builds_on_itself_is_refused(folder):
    with pytest.raises(ConfigError, match=r"my\.yaml:1"):
        load(write(folder, "recipe: [a]\n"))
    recipe_path("first/basic").write_text("recipe: first/fast\n")
    with pytest.raises(ConfigError, match="builds on itself"):
        load("first/fast")


def test_a_missing_file_says_where_relative_paths_start(folder):
    with pytest.raises(ConfigError, match="No such file") as caught:
        load("nowhere.yaml")
    assert str(folder) in str(caught.value)


def test_a_file_that_is_not_text_is_refused(folder):
    (folder / "my.yaml").write_bytes(b"task: \xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load("my.yaml")


def test_differences_are_listed_by_dotted_key():
    old = {"train": {"lr": 0.1, "ks": [1, 2], "ema": True}, "gone": {"x": 1}, "same": 1}
    new = {"train": {"lr": 0.2, "ks": [1, 3], "ema": 1}, "added": None, "same": 1.0}
    assert compare_configs(old, new) == [
        ("train.lr", 0.1, 0.2),
        ("train.ks", [1, 2], [1, 3]),
        ("train.ema", True, 1),
        ("gone.x", 1, "(absent)"),
        ("added", "(absent)", None),
    ]
    assert compare_configs(old, old) == []


@pytest.mark.parametrize("name", ["run", "a.b_c-1", "7", "x" * 80])
def test_a_project_name_becomes_part_of_a_folder_name(name):
    assert ProjectConfig(name=name).name == name


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "-x", ".x", "ü", "x" * 81, "a\n"])
def test_a_project_name_that_is_no_folder_name_is_refused(name):
    with pytest.raises(ValueError, match="name"):
        ProjectConfig(name=name)


def test_a_refused_project_name_comes_with_one_that_would_do(folder):
    with pytest.raises(ConfigError, match="for example my-run"):
        load("first/basic", "project.name=my run!")


def test_importing_the_package_is_light():
    code = (
        "import sys, sightline.config; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"
