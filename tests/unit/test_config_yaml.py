"""What YAML text and KEY=VALUE values mean, and where they are refused."""

from __future__ import annotations

import math
import time

import pytest

from sightline.config import parse_value, read_yaml
from sightline.errors import ConfigError


def read(text):
    return read_yaml(text, "my.yaml")[0]


SCALARS = [
    ("true", True),
    ("False", False),
    ("TRUE", True),
    ("no", "no"),
    ("yes", "yes"),
    ("on", "on"),
    ("Off", "Off"),
    ("y", "y"),
    ("null", None),
    ("~", None),
    ("", None),
    ("3", 3),
    ("-7", -7),
    ("+7", 7),
    ("0", 0),
    ("007", "007"),
    ("0x10", "0x10"),
    ("1_000", "1_000"),
    ("12:30", "12:30"),
    ("2026-01-02", "2026-01-02"),
    ("1e-3", 1e-3),
    ("1.5E+4", 1.5e4),
    (".5", 0.5),
    ("3.", 3.0),
    ("-.5e2", -50.0),
    (".inf", math.inf),
    ("-.INF", -math.inf),
    ("1e", "1e"),
    (".", "."),
    ("../x", "../x"),
    ('"3"', "3"),
    ("'true'", "true"),
    ("[1, 5]", [1, 5]),
    ("{a: 1e-3, b: [no]}", {"a": 1e-3, "b": ["no"]}),
    ("grüße", "grüße"),
    ("٣", "٣"),  # a digit, but not a decimal one of YAML
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_file_and_command_line_read_a_value_alike(text, value):
    for found in (read(f"key: {text}\n")["key"], parse_value(text)):
        assert found == value
        assert type(found) is type(value)


def test_not_a_number_is_read_as_a_float():
    assert math.isnan(parse_value(".nan"))
    assert math.isnan(read("a: .NaN")["a"])


@pytest.mark.parametrize("text", ["*.png", "a: b", "#1", "@x", "- x", "a, b", "x #y", "!tag", "%d"])
def test_a_command_line_value_needs_no_quotes(text):
    assert parse_value(text) == text


def test_a_command_line_value_is_stripped():
    assert parse_value("  3 ") == 3


@pytest.mark.parametrize("text", ["[1, 5", "'abc", '"a" b', "{a: 1, a: 2}", "[*x]", "[1] [2]"])
def test_a_broken_command_line_value_names_itself(text):
    with pytest.raises(ConfigError) as caught:
        parse_value(text, "command line data.x=...")
    assert "command line data.x=..." in str(caught.value)
    assert "line 1" not in str(caught.value)


def test_lines_are_those_of_keys_and_items():
    tree, lines = read_yaml("# c\ntask: a\ntrain:\n  lr: 1\n  ks:\n    - 1\n    - 2\n", "f")
    assert tree == {"task": "a", "train": {"lr": 1, "ks": [1, 2]}}
    assert lines == {
        ("task",): 2,
        ("train",): 3,
        ("train", "lr"): 4,
        ("train", "ks"): 5,
        ("train", "ks", 0): 6,
        ("train", "ks", 1): 7,
    }


def test_keys_are_always_text():
    assert read("{1: a, true: b, null: c, 1e-3: d}") == {
        "1": "a",
        "true": "b",
        "null": "c",
        "1e-3": "d",
    }


def test_a_byte_order_mark_and_windows_line_ends_are_accepted():
    assert read("\ufeffa: 1\r\nb: x\r\n") == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", 5, "`c` again"),
        ("a: 1\nb: [1,\n", 3, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("a: 1\n? [x]\n: 2\n", 2, "a word as key"),
        ("a: 1\nb: !!python/object:os.system {}\n", 2, "without tags"),
        ("a: 1\nb: !!timestamp 2026-01-02\n", 2, "timestamp"),
        ("a: !!int x\n", 1, "expected text, a number"),
        ("a: !!bool yes\n", 1, "expected text, a number"),
        ('a: 1\nb: "\\ud800"\n', 2, "expected text"),
        ("a: 1\n---\nb: 2\n", 2, "not YAML"),
        ("a: 1\nb: *nowhere\n", 2, "not YAML"),
        ("\n- a\n", 2, "a list"),
        ("words\n", 1, "a single value"),
        (f"a: {'9' * 5000}\n", 1, "expected text, a number"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(text, line, words):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert f"my.yaml:{line}" in str(caught.value)
    assert words in str(caught.value)


def test_a_repeated_key_names_the_first_line_too():
    with pytest.raises(ConfigError, match=r"my\.yaml:3 .*first on line 1"):
        read("a: 1\nb: 2\na: 3\n")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n"])
def test_an_empty_file_is_refused(text):
    with pytest.raises(ConfigError, match=r"my\.yaml is empty"):
        read(text)


def test_unprintable_text_is_refused():
    with pytest.raises(ConfigError, match="not YAML"):
        read("a: \x00\n")


def test_aliases_repeat_a_value():
    tree = read("a: &x {k: [1]}\nb: *x\n")
    assert tree == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert tree["a"] is not tree["b"]


def test_aliases_cannot_blow_up():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    started = time.monotonic()
    with pytest.raises(ConfigError, match="100000 values"):
        read("\n".join(lines))
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("text", ["a: &x [*x]\n", "a: &x {b: *x}\n", "a: " + "[" * 60 + "]" * 60])
def test_endless_and_deep_nesting_is_refused(text):
    with pytest.raises(ConfigError, match="levels deep"):
        read(text)


def test_nesting_too_deep_for_the_parser_is_refused():
    with pytest.raises(ConfigError, match="nested too deeply"):
        read("a: " + "[" * 3000 + "]" * 3000)


def test_environment_is_substituted_everywhere(monkeypatch):
    monkeypatch.setenv("ROOT_X", "/data")
    monkeypatch.setenv("COUNT_X", "12")
    tree = read('a: {b: ["${ENV:ROOT_X}/${ENV:COUNT_X}"]}\nc: ${ENV:ROOT_X}/y\n')
    assert tree == {"a": {"b": ["/data/12"]}, "c": "/data/y"}
    assert parse_value("${ENV:ROOT_X}/z") == "/data/z"


def test_an_unquoted_variable_is_read_as_if_typed_and_a_quoted_one_is_text(monkeypatch):
    monkeypatch.setenv("COUNT_X", "12")
    assert read('a: ${ENV:COUNT_X}\nb: "${ENV:COUNT_X}"\n') == {"a": 12, "b": "12"}


def test_a_variable_brings_no_structure_and_an_empty_one_is_text(monkeypatch):
    monkeypatch.setenv("SLY_X", "[1]\nb: 2")
    monkeypatch.setenv("EMPTY_X", "")
    assert read("a: ${ENV:SLY_X}\nc: ${ENV:EMPTY_X}\n") == {"a": "[1]\nb: 2", "c": ""}


def test_a_variable_is_not_substituted_twice(monkeypatch):
    monkeypatch.setenv("OUTER_X", "${ENV:INNER_X}")
    assert read("a: ${ENV:OUTER_X}\n") == {"a": "${ENV:INNER_X}"}


def test_two_dollars_keep_the_text():
    assert read("a: $${ENV:HOME}\n") == {"a": "${ENV:HOME}"}


def test_a_missing_variable_is_named_with_its_line(monkeypatch):
    monkeypatch.delenv("NOT_THERE_X", raising=False)
    with pytest.raises(ConfigError) as caught:
        read("a: 1\nb: x/${ENV:NOT_THERE_X}\n")
    assert "NOT_THERE_X" in str(caught.value)
    assert "my.yaml:2" in str(caught.value)


@pytest.mark.parametrize("text", ["${ENV:}", "${ENV:A B}", "x${ENV:HOME"])
def test_a_malformed_variable_is_refused(text):
    with pytest.raises(ConfigError, match="ENV:NAME"):
        read(f"a: {text}\n")
