"""Commands about configurations and the machine."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import (
    JSON_OPTION,
    OVERRIDES,
    SOURCE,
    print_json,
    print_table,
)


@click.command()
@JSON_OPTION
def recipes(as_json: bool) -> None:
    """List the configurations that come with Sightline.

    \b
    Example: sightline recipes
    """
    from sightline.config import recipe_names, recipe_summary

    found = [(name, recipe_summary(name)) for name in recipe_names()]
    if as_json:
        print_json([{"name": name, "summary": summary} for name, summary in found])
    else:
        print_table(found)


@click.command()
@SOURCE
@OVERRIDES
def config(source: str, overrides: tuple[str, ...]) -> None:
    """Print a recipe or file as a complete, commented configuration.

    \b
    Example: sightline config classify/basic train.epochs=20 > mine.yaml
    """
    from sightline.config import load_config, render_config
    from sightline.inference import INFERENCE_CONFIGS
    from sightline.trained import TASK_CONFIGS
    from sightline.tuning.settings import SEARCH_CONFIGS

    kinds = {**TASK_CONFIGS, **SEARCH_CONFIGS, **INFERENCE_CONFIGS}
    loaded = load_config(source, overrides, tasks=kinds)
    click.echo(render_config(loaded, relative_to=Path.cwd()), nl=False)


@click.command()
@JSON_OPTION
def doctor(as_json: bool) -> None:
    """Say what this machine offers: versions, devices, precision, threads, folders.

    \b
    Example: sightline doctor
    """
    from sightline.doctor import examine

    found = examine()
    if as_json:
        print_json(
            {one.name: {"ok": one.ok, "found": one.found, "hint": one.hint} for one in found}
        )
    else:
        for one in found:
            mark = {True: "ok  ", False: "FAIL", None: "note"}[one.ok]
            click.echo(
                f"{mark} {one.name:<22} {one.found}"
                + (f"\n       -> {one.hint}" if one.hint else "")
            )
    raise SystemExit(1 if any(one.ok is False for one in found) else 0)
