"""A configuration written as YAML is the same configuration when read back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from sightline.config import (
    EvalConfig,
    ProjectConfig,
    Section,
    dump_config,
    load_config,
    plain_tree,
    read_yaml,
    render_config,
)


class Inner(Section):
    """A group of settings."""

    rate: float = Field(default=1e-4, gt=0, le=1)
    """Peak learning rate,
    reached after the warm-up."""
    mode: Literal["min", "max"] = "max"
    """Direction."""
    clip: float | None = None
    """Largest norm; null: none."""
    empty: tuple[str, ...] = ()
    """Nothing yet."""


class Config(Section):
    """Root."""

    task: Literal["t"]
    """Which job."""
    project: ProjectConfig = ProjectConfig()
    inner: Inner = Inner()
    """The group."""
    eval: EvalConfig = EvalConfig()
    """Judge."""
    maybe: Inner | None = None
    """A section or nothing."""
    many: tuple[Inner, ...] = ()
    """Sections in a list."""
    root: Path = Path("pictures")
    """Folder."""
    words: tuple[str, ...] = ()
    """Words."""
    scores: dict[str, float | str | bool | None] = Field(default_factory=dict)
    """Anything by name."""
    renamed: int = Field(default=1, alias="class")
    """Known under another name."""
    text: str = "x"
    """Text."""
    number: float = 0.0
    """A number with a meaning so long that it does not fit on a single line of the file, which is
    why the words are wrapped at the width that every other file here keeps."""
    count: int = 0
    """A count."""


class Any_(Section):  # noqa: N801
    """Root for random values."""

    task: Literal["t"] = "t"
    text: str = ""
    number: float = 0.0
    count: int = 0
    flag: bool = False
    words: tuple[str, ...] = ()
    scores: dict[str, str | float | None] = Field(default_factory=dict)
    path: Path = Path("/")


AWKWARD = """
task: t
project: {name: "1e-3"}
inner: {rate: 1e-4, clip: 3, empty: ["no", "1e-3", "12", ""]}
maybe: {mode: min}
many: [{rate: 1e-5}, {empty: [a, "b, c", "]"]}]
root: "a folder: with #signs/ü"
words: ["no", "1e-3", "~", "null", " x ", "a: b", "- a", "#", "${ENV:X}", "\\u2028", "\\0", "😀"]
scores: {"no": 1, "1": x, "a.b": true, "a: b": null, "*": "*", "$x": 0.1}
class: 7
text: "two\\nlines"
number: 1e16
"""


def reload(text, folder, task=Config):
    (folder / "again.yaml").write_text(text, encoding="utf-8")
    return load_config(str(folder / "again.yaml"), tasks={"t": task})


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("X", "from the environment")
    (tmp_path / "first.yaml").write_text(AWKWARD, encoding="utf-8")
    return load_config(str(tmp_path / "first.yaml"), tasks={"t": Config})


@pytest.mark.parametrize("write", [render_config, dump_config])
def test_what_was_written_loads_back(config, write, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    again = reload(write(config), elsewhere)
    assert again == config
    assert write(again) == write(config)


def test_the_dump_is_the_plain_tree(config):
    assert read_yaml(dump_config(config), "dump")[0] == plain_tree(config)
    assert read_yaml(render_config(config), "full")[0] == plain_tree(config)


def test_the_dump_has_no_comments_and_the_order_of_the_class(config):
    lines = dump_config(config).splitlines()
    assert not any(line.lstrip().startswith("#") for line in lines)
    keys = [line.split(":")[0] for line in lines if not line.startswith(" ")]
    assert keys == [name.replace("renamed", "class") for name in Config.model_fields]


def test_other_yaml_readers_see_the_same_values(config):
    """An older reader takes `no` for false and 1e-04 for text unless we write with care."""
    assert yaml.safe_load(dump_config(config)) == plain_tree(config)


def test_every_key_is_preceded_by_its_meaning_and_limits(config):
    lines = render_config(config).splitlines()
    at = (
        lines.index("  rate: 1.0e-04")
        if "  rate: 1.0e-04" in lines
        else lines.index("  rate: 0.0001")
    )
    assert lines[at - 1] == (
        "  # Peak learning rate, reached after the warm-up. (a number > 0, <= 1)"
    )
    assert "  # Direction. (one of min, max)" in lines
    assert "  # Largest norm; null: none. (a number or null)" in lines
    assert lines[0] == "# Which job. (t)"
    assert lines[lines.index("inner:") - 2 : lines.index("inner:")] == ["", "# The group."]
    assert max(map(len, (line for line in lines if line.lstrip().startswith("#")))) <= 100


def test_a_section_without_a_line_of_its_own_shows_that_of_its_class(config):
    lines = render_config(config).splitlines()
    assert lines[lines.index("project:") - 1] == f"# {ProjectConfig.__doc__}"


def test_paths_can_be_written_relative_to_the_file_that_will_hold_them(tmp_path):
    written = Any_(path=tmp_path / "a/b")
    assert f"path: {tmp_path / 'a/b'}\n" in render_config(written)
    text = render_config(written, relative_to=tmp_path)
    assert "path: a/b\n" in text
    assert reload(text, tmp_path, Any_).path == written.path
    assert "path: /a\n" in render_config(Any_(path=Path("/a")), relative_to=tmp_path)


def test_a_constant_is_written_plainly():
    text = dump_config(Any_(text="resnet18.a1_in1k", number=3, path=Path("/a/b")))
    assert "text: resnet18.a1_in1k\n" in text
    assert "number: 3.0\n" in text
    assert "path: /a/b\n" in text


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["no", "1e-3", "~", "null", "True", ".inf", "0x1", "12:30", "$${ENV:A}", "${ENV:A}", "<<", "="]
)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(
    text=texts,
    number=numbers,
    count=st.integers(-(2**70), 2**70),
    flag=st.booleans(),
    words=st.lists(texts, max_size=4),
    scores=st.dictionaries(texts.filter(bool), texts | numbers | st.none(), max_size=4),
    # `..` is resolved when a file is read, as everywhere.
    path=st.lists(
        st.text("abc .~#:'\"-", min_size=1).filter(lambda part: part != ".."), max_size=3
    ),
)
def test_any_value_survives(tmp_path_factory, text, number, count, flag, words, scores, path):
    written = Any_(
        text=text,
        number=number,
        count=count,
        flag=flag,
        words=tuple(words),
        scores=scores,
        path=Path("/", *path),
    )
    folder = tmp_path_factory.mktemp("config")
    for write in (dump_config, render_config):
        (folder / "c.yaml").write_text(write(written), encoding="utf-8")
        assert load_config(str(folder / "c.yaml"), tasks={"t": Any_}) == written
