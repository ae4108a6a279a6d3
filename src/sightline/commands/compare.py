"""The command that puts runs of one task side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sightline.commands.options import EXP_DIR_OPTION, JSON_OPTION, print_json, print_table, say
from sightline.errors import UsageError

if TYPE_CHECKING:
    from sightline.reports.comparison import Comparison
    from sightline.reports.comparison_pairs import Pair

_SHOWN = 30
"""Rows of a table on a terminal; the files and the JSON have all runs."""


@click.command()
@click.argument("references", metavar="[RUN]...", nargs=-1)
@EXP_DIR_OPTION
@click.option("--task", default=None, help="Only runs of this task; alone: the newest of them.")
@click.option("--most", type=click.IntRange(min=2), default=None,
              help="How many at most; by default all that are named, else 10.")  # fmt: skip
@click.option("--split", type=click.Choice(["val", "test"]), default=None,
              help="Whose scores; by default val, else test.")  # fmt: skip
@click.option("--save", type=click.Path(path_type=Path), default=None, metavar="FILE",
              help="A .png or .html; the others go beside it.")  # fmt: skip
@click.option("--no-recall", is_flag=True, help="Leave every recall out.")
@click.option("--recall-history", is_flag=True, help="Also draw recall by epoch.")
@click.option("--table", "only_table", is_flag=True, help="Print the tables, write no file.")
@JSON_OPTION
def compare(
    references: tuple[str, ...],
    exp_dir: Path,
    task: str | None,
    most: int | None,
    split: str | None,
    save: Path | None,
    no_recall: bool,
    recall_history: bool,
    only_table: bool,
    as_json: bool,
) -> None:
    """Compare runs of one task: losses, scores with intervals, settings, and sample by sample.

    RUN is what it is everywhere, or a quoted pattern over ids and names. The first run is the one
    that the others are tested against.

    \b
    Examples:
      sightline compare dpe-v1 dpe-v2 --recall-history
      sightline compare 'dpe-*' --save comparison.png
      sightline compare --task classify --most 5 --split test
    """
    from sightline.reports.comparison import read_comparison
    from sightline.reports.comparison_page import checked_target, new_place, write_comparison
    from sightline.reports.comparison_pairs import compare_pairs
    from sightline.runs.listing import choose_runs

    _require_sense(references, task, both=no_recall and recall_history)
    target = checked_target(save) if save else None
    count = most or (None if references else 10)
    runs = choose_runs(references, exp_dir, task=task, most=count)
    comparison = read_comparison(runs, split=split)
    pairs = compare_pairs(comparison, recall=not no_recall)
    files: list[Path] = []
    if not only_table:
        files = write_comparison(
            comparison,
            pairs,
            target or new_place(exp_dir),
            recall=not no_recall,
            recall_history=recall_history,
        )
    if as_json:
        _print_as_json(comparison, pairs, files)
    else:
        _print_as_text(comparison, pairs, files, recall=not no_recall)


def _require_sense(references: Sequence[str], task: str | None, *, both: bool) -> None:
    if not references and task is None:
        raise UsageError(
            "Nothing says which runs to compare.",
            expected="two runs or more, a pattern, or --task TASK",
            got="neither",
            remedy="sightline list shows the runs",
        )
    if both:
        raise UsageError(
            "--no-recall and --recall-history contradict each other.",
            expected="at most one of the two",
            got="both",
        )


def _print_as_json(comparison: Comparison, pairs: Sequence[Pair], files: Sequence[Path]) -> None:
    print_json(
        {
            "task": comparison.task,
            "split": comparison.split,
            "runs": [run.facts() for run in comparison.runs],
            "settings": comparison.settings,
            "pairs": [pair.as_dict() for pair in pairs],
            "notes": comparison.notes,
            "files": [str(file) for file in files],
        }
    )


def _print_as_text(
    comparison: Comparison, pairs: Sequence[Pair], files: Sequence[Path], *, recall: bool
) -> None:
    from sightline.reports import comparison_words as words

    print_table(words.runs_table(comparison, recall=recall, most=_SHOWN))
    if len(comparison.runs) > _SHOWN:
        click.echo(f"... and {len(comparison.runs) - _SHOWN} more runs; --json shows all")
    if comparison.metrics(recall=recall):
        click.echo(f"{words.judged_on(comparison)}; 95 % intervals in brackets.")
    click.echo(f"\n{words.settings_sentence(comparison)}")
    if comparison.settings:
        print_table(words.settings_table(comparison, most=_SHOWN))
    for pair in pairs:
        click.echo("\n" + "\n".join(words.pair_sentences(pair)))
    if note := words.pairs_note(comparison, pairs):
        click.echo(f"\n{note}")
    for remark in comparison.notes:
        say(f"note: {remark}")
    for file in files:
        click.echo(str(file))
