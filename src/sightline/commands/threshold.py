"""The command that sets a detector's threshold."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import (
    DEVICE,
    EXP_DIR_OPTION,
    JSON_OPTION,
    OVERRIDES,
    RUN,
    find,
    print_json,
    renew_report,
    say,
)


@click.command()
@RUN
@OVERRIDES
@DEVICE
@EXP_DIR_OPTION
@JSON_OPTION
def threshold(
    run: str, overrides: tuple[str, ...], device: str, exp_dir: Path, as_json: bool
) -> None:
    """Set anew from which score on a detector raises an alarm, by held-out normal images.

    KEY=VALUE are keys of the section `threshold`. What was evaluated before keeps the old one until
    `sightline evaluate` is called again.

    \b
    Examples:
      sightline threshold latest false_alarm_budget=0.1
      sightline threshold latest method=fixed value=2.5
    """
    from sightline.threshold import set_threshold, threshold_settings

    if "=" in run:
        overrides, run = (run, *overrides), "latest"
    folder = find(run, exp_dir)
    found = set_threshold(
        folder,
        threshold_settings(folder, overrides),
        device=device,
        say=say if as_json else click.echo,
    )
    renew_report(folder)
    if as_json:
        print_json({"run": folder.id, **found.as_dict()})
