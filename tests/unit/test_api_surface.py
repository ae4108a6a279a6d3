"""Growth is a decision: public names and options change only together with this test."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

import sightline
from sightline.cli import cli

GOLDEN = Path(__file__).parents[1] / "golden" / "command_line.txt"


def test_public_names() -> None:
    assert sorted(sightline.__all__) == [
        "BaseTrainer",
        "Callback",
        "Evaluation",
        "SightlineError",
        "StepInfo",
        "Stop",
        "TrainerConfig",
        "evaluate",
    ]
    assert all(getattr(sightline, name).__doc__ for name in sightline.__all__)


def test_public_names_are_the_same_things_at_home() -> None:
    homes = sightline._HOMES
    assert set(homes) == set(sightline.__all__)
    for name, home in homes.items():
        assert getattr(sightline, name) is getattr(importlib.import_module(home), name)


def test_commands_and_options() -> None:
    """After a change that is meant: write what the assertion shows into the golden file."""
    assert "\n".join(command_line()) + "\n" == GOLDEN.read_text(encoding="utf-8")


def command_line() -> list[str]:
    """Every command with its arguments, and below it its options."""
    lines = []
    for name, command in sorted(cli.commands.items()):
        context = click.Context(command, info_name=name)
        given = [one for one in command.params if isinstance(one, click.Argument)]
        lines.append(" ".join([name, *(one.make_metavar(context) for one in given)]))
        for option in command.params:
            if isinstance(option, click.Option):
                names = "/".join([*option.opts, *option.secondary_opts])
                lines.append(f"  {names}{' (required)' if option.required else ''}")
    return lines
