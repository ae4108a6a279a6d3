"""The sections of compression on a run's page: what is kept beside PCA, what a search tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sightline.reports.anomaly_words import mapping
from sightline.reports.canvas import figure_uri
from sightline.reports.cells import finite_or_none
from sightline.reports.compress_figures import (
    forms_figure,
    recall_bars,
    recall_figure,
    recall_shares,
    shares_figure,
)
from sightline.reports.record import RunRecord
from sightline.reports.sections import PageSection
from sightline.reports.wording import metric_title, split_title


def kept_section(record: RunRecord) -> PageSection | None:
    """Return recall beside PCA of each split, the pool, sizes, and how distances are kept."""
    splits = [
        _kept(record, split, result)
        for split, result in record.evaluations.items()
        if result.get("task") == "compress" and recall_bars(result)
    ]
    return PageSection("kept", "Neighbours that are kept", {"splits": splits}) if splits else None


def forms_section(record: RunRecord) -> PageSection | None:
    """Return the forms that a search for the smallest one compared, by bytes, and its outcome."""
    search = record.search
    if not search or not search.get("rows"):
        return None
    rows = [mapping(row) for row in search["rows"]]
    k = _k_of(search, rows[0])
    sizes = [
        {
            "bytes": size,
            "rows": [_form(row, k) for row in found],
            "chosen": any(row.get("chosen") for row in found),
        }
        for size, found in ((size, list(some)) for size, some in groupby(rows, _bytes))
    ]
    first = mapping(mapping(rows[0].get("recall")).get(k))
    pool = mapping(rows[0].get("pool"))
    data = {
        "says": search.get("says"),
        "verdict": search.get("verdict"),
        "split": split_title(str(rows[0].get("split"))),
        "k": k,
        "n": first.get("n"),
        "pool": _pool(pool) if pool else None,
        "sizes": sorted(sizes, key=lambda one: not one["chosen"]),
        "against": [mapping(row.get("against")).get("says") for row in rows if row.get("against")],
        "notes": search.get("notes") or [],
        "uri": figure_uri(forms_figure(search)) if _is_drawn(search) else None,
        "tried": search.get("tried") or [],
    }
    return PageSection("forms", "The smallest form", data)


def _kept(record: RunRecord, split: str, result: Mapping[str, Any]) -> dict[str, Any]:
    headline, bounds = mapping(result.get("headline")), mapping(result.get("lower_bounds"))
    beside = [mapping(one) for one in result.get("baselines") or []]
    shares = recall_shares(record.predictions(split))
    sizes, more = mapping(result.get("sizes")), mapping(result.get("more"))
    rows = [
        {
            "title": metric_title(name),
            "encoder": mapping(headline[name]),
            "lower": finite_or_none(bounds.get(name)),
            "others": [
                {
                    "score": mapping(mapping(one.get("scores")).get(name)),
                    "gain": mapping(mapping(one.get("gains")).get(name)),
                    "says": gain_in_words(mapping(mapping(one.get("gains")).get(name))),
                }
                for one in beside
            ],
        }
        for name in headline
    ]
    return {
        "title": split_title(split),
        "n": result.get("n"),
        "rows": rows,
        "others": [str(one.get("name")).upper() for one in beside],
        "pool": _pool(mapping(result.get("pool"))),
        "sizes": sizes,
        "smaller": _ratio(sizes),
        "rank_correlation": mapping(more.get("rank_correlation")),
        "stress": mapping(more.get("stress")).get("value"),
        "bars": figure_uri(recall_figure(recall_bars(result))),
        "shares": figure_uri(shares_figure(shares)) if shares else None,
    }


def gain_in_words(gain: Mapping[str, Any]) -> str:
    """Return whether the encoder keeps more than what is beside it, or whether chance explains it.

    >>> gain_in_words({"value": 0.01, "low": -0.01, "high": 0.03})
    'no difference that could not be chance'
    """
    low, high = finite_or_none(gain.get("low")), finite_or_none(gain.get("high"))
    if low is None or high is None:
        return "not compared"
    if low > 0:
        return "the encoder keeps more"
    return "the encoder keeps LESS" if high < 0 else "no difference that could not be chance"


def _pool(pool: Mapping[str, Any]) -> str | None:
    rows, others = pool.get("rows"), pool.get("others")
    if not isinstance(rows, int):
        return None
    if not isinstance(others, int):
        return f"{rows:,} rows"
    filled = f"{others:,} of them not held out" if others else "all of them held out"
    return f"{rows:,} rows, {filled}"


def _ratio(sizes: Mapping[str, Any]) -> float | None:
    before, after = sizes.get("bytes"), sizes.get("latent_bytes")
    return before / after if isinstance(before, int) and isinstance(after, int) and after else None


def _form(row: Mapping[str, Any], k: str) -> dict[str, Any]:
    return {
        "form": row.get("form"),
        "ratio": row.get("ratio"),
        "recall": mapping(mapping(row.get("recall")).get(k)),
        "build": row.get("build_seconds"),
        "encode": row.get("encode_microseconds"),
        "chosen": bool(row.get("chosen")),
    }


def _k_of(search: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The k of the target, or else the first that was measured."""
    asked = str(search.get("target")).partition("@")[2].partition(">")[0]
    known: Sequence[str] = list(mapping(row.get("recall")))
    return asked if asked in known else next(iter(known), "")


def _bytes(row: Mapping[str, Any]) -> Any:
    return row.get("bytes")


def _is_drawn(search: Mapping[str, Any]) -> bool:
    tried = search.get("tried") or []
    return bool(tried) and all("value" in one and "bytes" in one for one in tried)
