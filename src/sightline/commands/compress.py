"""The command that finds the smallest form of vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sightline.commands.options import JSON_OPTION, OVERRIDES, command_line, print_json, say

if TYPE_CHECKING:
    from sightline.runs import RunFolder


@click.command()
@click.argument("vectors", type=click.Path(path_type=Path))
@OVERRIDES
@click.option("--keep", required=True, metavar="RECALL",
              help='What must survive, as in "recall@10>=0.95".')  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=None,
              help="Folder of the codec; by default RUN/codec.")  # fmt: skip
@click.option("--bytes", "budgets", multiple=True, type=click.IntRange(min=1),
              help="A size to try, in bytes; may be given several times.")  # fmt: skip
@click.option("--no-learned", is_flag=True, help="Try forms that need no training only.")
@JSON_OPTION
def compress(
    vectors: Path,
    overrides: tuple[str, ...],
    keep: str,
    out: Path | None,
    budgets: tuple[int, ...],
    no_learned: bool,
    as_json: bool,
) -> None:
    """Find the smallest form of vectors that keeps their neighbours, and write it.

    PCA, truncation, random projections, int8, bits, product quantisation and trained encoders are
    compared at equal bytes on held-out rows.

    \b
    Examples:
      sightline compress vectors.npy --keep "recall@10>=0.95"
      sightline compress vectors.parquet --keep "recall@5>=0.9" data.normalize=true --bytes 64
    """
    from sightline.compress import CompressRequest, compress_vectors

    request = CompressRequest(
        vectors, keep, overrides, out, learned=not no_learned, budgets=budgets or None
    )

    def show(run: RunFolder, codec: Path) -> None:
        content = json.loads((run.path / "search.json").read_bytes())
        print_json({"path": str(run.path), "codec": str(codec), **content})

    compress_vectors(
        request,
        command=command_line(),
        then=show if as_json else None,
        say=say if as_json else click.echo,
    )
