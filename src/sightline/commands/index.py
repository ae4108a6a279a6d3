"""The command that embeds a gallery."""

from __future__ import annotations

from pathlib import Path

import click

from sightline.commands.options import (
    CHECKPOINT,
    DEVICE,
    EXP_DIR_OPTION,
    OVERRIDES,
    RUN,
    find,
)
from sightline.errors import UsageError


@click.command()
@RUN
@click.argument("source", required=False)
@OVERRIDES
@click.option("--out", type=click.Path(path_type=Path), default=None,
              help="The folder of the new index.")  # fmt: skip
@CHECKPOINT
@DEVICE
@EXP_DIR_OPTION
def index(
    run: str,
    source: str | None,
    overrides: tuple[str, ...],
    out: Path | None,
    checkpoint: str | None,
    device: str,
    exp_dir: Path,
) -> None:
    """Embed a gallery with a trained run: its own anew, or a folder or table of other pictures.

    SOURCE is a folder with one folder of pictures per class, or a CSV. KEY=VALUE are keys of the
    sections `data` and `index`.

    \b
    Examples:
      sightline index latest
      sightline index latest new_gallery --out gallery index.engine=faiss-hnsw
      sightline predict latest photos --index gallery --out answers.csv
    """
    from sightline.indexing import index_run, index_source

    if source is not None and "=" in source:
        overrides, source = (source, *overrides), None
    folder = find(run, exp_dir)
    if source is None:
        if out is not None or overrides:
            raise UsageError(
                "The run's own gallery is embedded into its own folder, as it was configured.",
                got=" ".join([*(["--out"] if out else []), *overrides]),
                remedy="name a folder of pictures for another one: "
                "sightline index RUN FOLDER --out INDEX",
            )
        index_run(folder, checkpoint=checkpoint, device=device, say=click.echo)
        return
    if out is None:
        raise click.MissingParameter(param_hint="'--out'", param_type="option")
    index_source(
        folder,
        Path(source),
        out,
        overrides,
        checkpoint=checkpoint,
        device=device,
        say=click.echo,
    )
