"""What a user is told about a configuration that cannot be used."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from sightline.config import Section, load_config
from sightline.config.layers import split_override
from sightline.config.suggest import nearest_keys
from sightline.errors import ConfigError


class Data(Section):
    """Data."""

    root: str = "x"
    """Folder."""
    folds: int = Field(default=5, ge=2, le=20)
    """Folds."""
    valid_fold: int | Literal["all"] = 0
    """Fold."""


class Model(Section):
    """Model."""

    name: str
    """Backbone."""
    pooling: Literal["avg", "gem", "max"] = "avg"
    """Pooling."""


class Train(Section):
    """Train."""

    lr: float = Field(default=1e-3, gt=0)
    """Rate."""
    amp: bool = True
    """Mixed precision."""
    precision: Literal["auto", "fp16"] = "auto"
    """Precision."""
    epochs: int = 10
    """Passes."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Decay."""
    milestones: tuple[int, ...] = ()
    """Drops."""

    @model_validator(mode="after")
    def _agree(self):
        if not self.amp and self.precision == "fp16":
            raise ValueError("amp is false, so precision fp16 would never be used")
        return self


class Cosine(Section):
    """Cosine."""

    kind: Literal["cosine"] = "cosine"
    """Kind."""
    periods: int = 1
    """Periods."""


class Step(Section):
    """Step."""

    kind: Literal["step"] = "step"
    """Kind."""
    size: int = 1
    """Size."""


class Config(Section):
    """Root."""

    task: Literal["t"]
    """Task."""
    data: Data = Data()
    """Data."""
    model: Model = Model(name="resnet18")
    """Model."""
    train: Train = Train()
    """Train."""
    calibrate: bool | Cosine = False
    """A boolean or a section."""
    tagged: Annotated[Cosine | Step, Field(discriminator="kind")] = Cosine()
    """Told apart by kind."""
    untagged: Cosine | Step = Cosine()
    """Told apart by content."""
    optional: Step | None = None
    """A section or nothing."""
    stages: tuple[Step, ...] = ()
    """Sections in a list."""
    weights: dict[int, float] = Field(default_factory=dict)
    """Weight of each class."""
    renamed: int = Field(default=1, alias="class")
    """Known under another name."""


@pytest.fixture
def complain(tmp_path, monkeypatch):
    """Returns the message about a file with the given lines below `task: t`."""
    monkeypatch.chdir(tmp_path)

    def message(text="", *overrides, flags=None):
        (tmp_path / "c.yaml").write_text(f"task: t\n{text}\n")
        with pytest.raises(ConfigError) as caught:
            load_config("c.yaml", overrides, tasks={"t": Config}, flags=flags)
        found = str(caught.value)
        for jargon in ("Input should", "pydantic", "http", "Extra inputs", "type=", "literal["):
            assert jargon not in found
        return found

    return message


WRONG_VALUES = [
    ('train: {amp: "yes"}', 'train.amp: expected true or false; got text "yes" (c.yaml:2)'),
    ("train: {amp: yes}", 'train.amp: expected true or false; got text "yes" (c.yaml:2)'),
    ("train: {amp: 1}", "train.amp: expected true or false; got 1 (c.yaml:2)"),
    (
        'train:\n  epochs: "3"',
        'train.epochs: expected an integer; got text "3"; remove the quotes (c.yaml:3)',
    ),
    ("train: {epochs: 3.0}", "train.epochs: expected an integer; got 3.0 (c.yaml:2)"),
    ("train: {epochs: true}", "train.epochs: expected an integer; got true (c.yaml:2)"),
    ("train: {epochs: null}", "train.epochs: expected an integer; got null (nothing) (c.yaml:2)"),
    ("train: {lr: -1}", "train.lr: expected a number > 0; got -1 (c.yaml:2)"),
    ("train: {lr: .inf}", "train.lr: expected a number > 0; got Infinity (c.yaml:2)"),
    ("train: {lr: 1e999}", "train.lr: expected a number > 0; got Infinity (c.yaml:2)"),
    ("train: {lr: .nan}", "train.lr: expected a number > 0; got NaN (c.yaml:2)"),
    (
        "train: {weight_decay: -1}",
        "train.weight_decay: expected a number >= 0 or null; got -1 (c.yaml:2)",
    ),
    ("data: {folds: 1}", "data.folds: expected an integer >= 2, <= 20; got 1 (c.yaml:2)"),
    (
        "data: {valid_fold: al}",
        'data.valid_fold: expected an integer or all; got text "al"; did you mean all? (c.yaml:2)',
    ),
    (
        "data: {root: 12}",
        'data.root: expected text; got 12; write it in quotes, as in "12" (c.yaml:2)',
    ),
    (
        "model: {name: a, pooling: agv}",
        "model.pooling: expected one of avg, gem, max; "
        'got text "agv"; did you mean avg? (c.yaml:2)',
    ),
    (
        "train:\n  milestones:\n    - 1\n    - x",
        'train.milestones[1]: expected an integer; got text "x" (c.yaml:5)',
    ),
    (
        "train: {milestones: 3}",
        "train.milestones: expected a list (each an integer); got 3 (c.yaml:2)",
    ),
    ("data: 3", "data: expected a section with root, folds, valid_fold; got 3 (c.yaml:2)"),
    (
        "data:",
        "data: expected a section with root, folds, valid_fold; got null (nothing) (c.yaml:2)",
    ),
    (
        "train: {lr: {a: 1}}",
        "train.lr: expected a number > 0; got a section with a (c.yaml:2)",
    ),
    ("model: {pooling: gem}", "model.name: this key is required; expected text (c.yaml:2)"),
    ("stages: [{size: x}]", 'stages[0].size: expected an integer; got text "x" (c.yaml:2)'),
    ("optional: {size: x}", 'optional.size: expected an integer; got text "x" (c.yaml:2)'),
    ("weights: {1: x}", 'weights.1: expected a number; got text "x" (c.yaml:2)'),
    ("weights: {a: 1}", "weights.a: the key a itself is wrong"),
    ("class: x", 'class: expected an integer; got text "x" (c.yaml:2)'),
]


@pytest.mark.parametrize(("text", "line"), WRONG_VALUES)
def test_a_wrong_value_is_told_in_plain_words(complain, text, line):
    message = complain(text)
    assert line in message
    assert "has 1 problem:" in message


UNKNOWN_KEYS = [
    ("train: {learning_rate: 1}", "train.learning_rate: unknown key; did you mean train.lr?"),
    ("train: {epoch: 1}", "train.epoch: unknown key; did you mean train.epochs?"),
    ("train: {weight-decay: 1}", "unknown key; did you mean train.weight_decay?"),
    ("train: {WeightDecay: 1}", "unknown key; did you mean train.weight_decay?"),
    ("lr: 1", "lr: unknown key; did you mean train.lr?"),
    ("SOLVER: {BASE_LR: 1}", "SOLVER: unknown section, that of another baseline"),
    ("modle: {}", "modle: unknown key; did you mean model?"),
    ("data: {pooling: avg}", "data.pooling: unknown key; did you mean model.pooling?"),
    ("data: {mile_stones: []}", "did you mean train.milestones?"),
    ("data: {zzz: 1}", "data.zzz: unknown key; valid here: root, folds, valid_fold"),
    ("train.lr: 1", "train.lr: unknown key; in a file, write `lr` in the section `train`"),
    ("renamed: 1", "renamed: unknown key"),
    ("optional: {sise: 1}", "optional.sise: unknown key; did you mean optional.size?"),
    ("stages: [{sise: 1}]", "stages[0].sise: unknown key"),
    ("weights: {1: {a: 1}}", "weights.1: expected a number; got a section with a"),
]


@pytest.mark.parametrize(("text", "words"), UNKNOWN_KEYS)
def test_an_unknown_key_comes_with_the_one_meant(complain, text, words):
    """Defect 5: a key that nothing reads is never accepted."""
    message = complain(text)
    assert words in message
    assert "(c.yaml:2)" in message


def test_an_unknown_key_says_how_to_see_all_keys(complain):
    assert "`sightline config RECIPE`" in complain("zzz: 1")
    assert "`sightline config RECIPE`" not in complain("train: {lr: x}")


def test_a_like_key_beside_comes_before_the_same_key_elsewhere():
    assert nearest_keys(Config, ("model", "nam")) == ["model.name"]
    assert nearest_keys(Config, ("data", "fold")) == ["data.folds"]
    assert nearest_keys(Config, ("train", "size")) == ["tagged.size"]
    assert nearest_keys(Config, ("model", "epoch")) == ["train.epochs"]


def test_all_problems_are_listed_at_once(complain):
    message = complain("train:\n  lr: x\n  epoch: 1\nlr: 2", "data.folds=x", "data.fold=3")
    assert "has 5 problems:" in message
    for place in ("(c.yaml:3)", "(c.yaml:4)", "(c.yaml:5)"):
        assert place in message
    assert 'data.folds: expected an integer >= 2, <= 20; got text "x"' in message
    assert "(command line data.folds=x)" in message
    assert "data.fold: unknown key; did you mean data.folds? (command line data.fold=3)" in message


def test_a_rule_between_keys_names_the_section_and_the_overrides_in_it(complain):
    message = complain("train:\n  precision: fp16", "train.amp=false", "data.folds=3")
    assert (
        "train: amp is false, so precision fp16 would never be used "
        "(c.yaml:2, command line train.amp=false)" in message
    )


def test_a_boolean_or_a_section_complains_about_what_was_meant(complain):
    assert "calibrate.period: unknown key" in complain("calibrate: {period: 1}")
    message = complain("calibrate: maybe")
    assert "calibrate: expected true or false or a section with kind, periods" in message
    assert "has 1 problem:" in message


def test_a_section_told_apart_by_a_key(complain):
    assert "tagged.sise: unknown key; did you mean tagged.size?" in complain(
        "tagged: {kind: step, sise: 1}"
    )
    message = complain("tagged: {kind: stop}")
    assert (
        'tagged.kind: expected one of cosine, step; got text "stop"; did you mean step? (c.yaml:2)'
        in message
    )
    message = complain("tagged: {size: 1}")
    assert "tagged.kind: this key is required" in message


def test_a_section_told_apart_by_content_complains_about_the_nearest(complain):
    message = complain("untagged: {kind: step, size: x}")
    assert "untagged.size: expected an integer" in message
    assert "periods" not in message
    assert "has 1 problem:" in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.lr", "no `=`"),
        ("=3", "an empty key"),
        ("train.=3", "an empty key"),
        ("train..lr=3", "an empty key"),
        ("train.lr=[1", "not YAML"),
        ("train.lrr=3", "did you mean train.lr?"),
        ("trian.lr=3", "did you mean train?"),
        ("train.lr.x=3", "train.lr is a single value; nothing can be set below it"),
        ("train.milestones.0=3", "set it whole, as in train.milestones=[...]"),
        ("task.x=3", 'task is text "t" (c.yaml:1); nothing can be set below it'),
        ("recipe=a/b", "unknown key"),
    ],
)
def test_a_wrong_override_names_itself(complain, override, words):
    message = complain("", override)
    assert words in message
    assert override.partition("=")[0] in message
    assert "command line" in message


def test_nothing_can_be_set_below_a_value_that_is_there(complain):
    message = complain("calibrate: true", "calibrate.periods=3")
    assert "calibrate is true (c.yaml:2); nothing can be set below it" in message
    assert "(command line calibrate.periods=3)" in message


def test_a_wrong_flag_names_its_key(complain):
    message = complain("", flags={"train.epochs": "x"})
    assert "train.epochs: expected an integer" in message
    assert "(command line flag for train.epochs)" in message


def test_a_wrong_value_in_a_recipe_names_recipe_and_line(tmp_path, complain, monkeypatch):
    monkeypatch.setattr("sightline.config.recipes._FOLDER", tmp_path)
    (tmp_path / "base.yaml").write_text("train:\n  lr: -1\n")
    assert "(recipe base, line 2)" in complain("recipe: base")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1", "The key `task` is missing."),
        ("task: tt", "did you mean t?"),
        ("task: [t]", "c.yaml:1"),
        ("task: null", "got:      null"),
    ],
)
def test_a_missing_or_unknown_task_names_the_tasks(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(str(tmp_path / "c.yaml"), tasks={"t": Config})
    assert words in str(caught.value)
    assert "task: t" in str(caught.value)


def test_an_empty_path_is_refused(tmp_path):
    from pathlib import Path

    class WithPath(Section):
        task: Literal["t"]
        root: Path = Path("x")

    (tmp_path / "c.yaml").write_text("task: t\nroot: ''\n")
    with pytest.raises(ConfigError, match=r"root: expected a path; got empty text \(.*:2\)"):
        load_config(str(tmp_path / "c.yaml"), tasks={"t": WithPath})


@pytest.mark.parametrize("text", ["", "inner: {}"])
def test_a_default_that_does_not_fit_is_a_fault_of_the_program(tmp_path, text):
    class Inner(Section):
        n: int = Field(default=0, ge=1)

    class Wrong(Section):
        task: Literal["t"]
        inner: Inner = Inner()

    (tmp_path / "c.yaml").write_text(f"task: t\n{text}\n")
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        load_config(str(tmp_path / "c.yaml"), tasks={"t": Wrong})


def test_a_rule_between_keys_names_the_file_rather_than_its_recipe(tmp_path, complain, monkeypatch):
    monkeypatch.setattr("sightline.config.recipes._FOLDER", tmp_path)
    (tmp_path / "base.yaml").write_text("train:\n  amp: false\n")
    message = complain("recipe: base\ntrain:\n  precision: fp16")
    assert "would never be used (c.yaml:3)" in message


def test_a_section_made_in_python_is_strict_too():
    with pytest.raises(ValidationError):
        Train(epochs="3")
    with pytest.raises(ValidationError):
        Train(lr=float("inf"))


def test_a_key_of_another_baseline_comes_with_ours(complain):
    message = complain("", "SOLVER.BASE_LR=0.1", "MODEL.NECK=no")
    assert "SOLVER.BASE_LR: the key of another baseline; write train.lr" in message
    assert "write model.neck" in message
    assert "write train.lr" in complain("", "solver.base_lr=0.1")
    with pytest.raises(ConfigError) as found:
        split_override("MODEL.NAME")
    assert found.value.remedy == "write model.name"
