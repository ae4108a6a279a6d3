"""The command that sets what a run decides by."""

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
    """Set anew when a detector raises an alarm, or when retrieval asks for another photo.

    By held-out normal images, or by validation answers. KEY=VALUE are keys of the section
    `threshold` of a detector, `answer` of retrieval. What was evaluated before keeps the old ones
    until `sightline evaluate` is called again.

    \b
    Examples:
      sightline threshold latest false_alarm_budget=0.1
      sightline threshold latest method=fixed value=2.5
      sightline threshold latest error_rate=0.02
    """
    from sightline.threshold import set_thresholds

    if "=" in run:
        overrides, run = (run, *overrides), "latest"
    folder = find(run, exp_dir)
    found = set_thresholds(
        folder,
        overrides,
        device=device,
        say=say if as_json else click.echo,
    )
    renew_report(folder)
    if as_json:
        print_json({"run": folder.id, **found.as_dict()})
