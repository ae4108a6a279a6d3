"""What a search found, as rows for JSON and as lines for the terminal.

D numbers of a vector before; recalls are fractions.
"""

from __future__ import annotations

from typing import Any

from sightline.compressing.judging import Judged, Trial, difference
from sightline.compressing.searching import Search


def report_rows(search: Search, trial: Trial | None) -> list[dict[str, Any]]:
    """One row for each form that was judged on test (without one: on val), by bytes, then recall.

    `trial` is the test, for paired differences of learned forms from the best other form of the
    same bytes: that of the highest recall on val, so that test chooses nothing.
    """
    found = search.test or search.val
    k = search.target.k
    ordered = sorted(found, key=lambda one: (one.bytes, -found[one].estimates[k].value, one))
    rows = []
    for spec in ordered:
        row = _row(search, found[spec])
        if spec.transform == "learned" and trial is not None and search.test:
            row["against"] = _against(search, found[spec], trial)
        rows.append(row)
    return rows


def table_lines(rows: list[dict[str, Any]], k: int) -> list[str]:
    """The rows as lines of text, with the pool and the number of queries first.

    >>> table_lines([], 10)
    ['no form was judged']
    """
    if not rows:
        return ["no form was judged"]
    pool = rows[0]["pool"]
    parts = f" ({pool['held_out']} held out, {pool['others']} others)" if "held_out" in pool else ""
    first = rows[0]["recall"][str(k)]
    lines = [
        f"{rows[0]['split']}: {first['n']} {first['unit']}s or copies of one, pool {pool['rows']}"
        f"{parts}",
        f"{'form':<22}{'bytes':>7}{'ratio':>8}  {f'recall@{k} [95 %]':<24}{'at least':>9}"
        f"{'build s':>9}{'us/vector':>11}",
    ]
    for row in rows:
        one = row["recall"][str(k)]
        value = f"{one['value']:.4f} [{one['low']:.4f}, {one['high']:.4f}]"
        marks = ("  <- chosen" if row["chosen"] else "") + ("" if row["meets"] else "  misses")
        lines.append(
            f"{row['form']:<22}{row['bytes']:>7}{row['ratio']:>8.1f}  {value:<24}"
            f"{one['lower']:>9.4f}{row['build_seconds']:>9.2f}"
            f"{row['encode_microseconds']:>11.1f}{marks}"
        )
    return [*lines, *(row["against"]["says"] for row in rows if row.get("against"))]


def _row(search: Search, judged: Judged) -> dict[str, Any]:
    spec, target = judged.spec, search.target
    return {
        "form": spec.name,
        "transform": spec.transform,
        "quantizer": spec.quantizer,
        "numbers": spec.size,
        "bytes": spec.bytes,
        "ratio": 4 * search.dimension / spec.bytes,
        "split": judged.split,
        "recall": {
            str(k): estimate.as_dict() | {"lower": judged.lower[k]}
            for k, estimate in judged.estimates.items()
        },
        "pool": judged.pool,
        "build_seconds": judged.build_seconds,
        "encode_microseconds": judged.encode_microseconds,
        "meets": judged.meets(target.k, target.recall),
        "chosen": search.chosen is not None and spec == search.chosen.spec,
    }


def _against(search: Search, judged: Judged, trial: Trial) -> dict[str, Any] | None:
    """The best other form of the same bytes, and how much more the learned one keeps."""
    k, size = search.target.k, judged.spec.bytes
    others = [one for one in search.test if one.bytes == size and one.transform != "learned"]
    if not others:
        return None
    # Those of a size that val was not asked about are compared by test: against the learned form.
    known = search.val if all(one in search.val for one in others) else search.test
    best = max(others, key=lambda one: known[one].estimates[k].value)
    gain = difference(judged, search.test[best], k, trial)
    numbers = f"{gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] of recall@{k}"
    if gain.low > 0:
        verdict = f"keeps more than {best.name}, the best other form of {size} bytes"
    elif gain.high < 0:
        verdict = f"keeps less than {best.name}, another form of {size} bytes"
    else:
        verdict = f"is not shown to be better than {best.name}, another form of {size} bytes"
    return {
        "form": best.name,
        "difference": gain.as_dict(),
        "says": f"{judged.spec.name} {verdict}: {numbers}",
    }
