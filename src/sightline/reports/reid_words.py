"""What a re-identification run's numbers mean, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sightline.metrics.intervals import plural
from sightline.reports.anomaly_words import mapping
from sightline.reports.wording import metric_title, number

if TYPE_CHECKING:
    from sightline.reports.record import RunRecord

_FEATURES = {"after": "after the neck", "before": "before the neck"}
_WAYS = {
    "plain": "by distance",
    "reranked": "re-ranked",
    "expanded": "with expanded queries",
}
WAYS_MEAN = {
    "reranked": "Re-ranked: by k-reciprocal neighbours (Zhong et al. 2017), which compares queries "
    "with each other too.",
    "expanded": "With expanded queries: each query is averaged with what it finds first.",
}


def is_reid(result: Mapping[str, Any]) -> bool:
    """Return whether a split's result is one of re-identification."""
    return result.get("task") == "reid"


def reid_splits(record: RunRecord) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the evaluated splits of re-identification with their results, test first."""
    return [(split, one) for split, one in record.evaluations.items() if is_reid(one)]


def table_rows(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rows of scores of a split: one for each feature and way of ranking."""
    return [row for row in result.get("table") or [] if isinstance(row, Mapping)]


def answering_feature(result: Mapping[str, Any]) -> str:
    """Return the feature that answers: ``after`` or ``before`` the neck."""
    return str(result.get("feature") or "after")


def feature_title(feature: str) -> str:
    """Return where a feature is taken from, in words.

    >>> feature_title("before")
    'before the neck'
    """
    return _FEATURES.get(feature, feature)


def way_title(way: str) -> str:
    """Return how a gallery is ranked, in words.

    >>> way_title("plain")
    'by distance'
    """
    return _WAYS.get(way, way)


def reid_remarks(result: Mapping[str, Any]) -> list[str]:
    """Return the protocol, which queries have no score, and undefined ranks; none for others."""
    if not is_reid(result):
        return []
    protocol = mapping(result.get("protocol"))
    said = [_protocol_sentence(protocol), _unmatched_sentence(protocol)]
    for rank, why in mapping(result.get("undefined")).items():
        said.append(f"{metric_title(f'rank_{rank}')} is not defined: {_ended(str(why))}")
    return [one for one in said if one]


def cameras_sentence(shown: int, cameras: Any) -> str:
    """Return which cameras a table shows of how many there are."""
    if isinstance(cameras, int) and cameras > shown:
        return f"These are the {shown} of {number(cameras)} cameras with the most pictures."
    return ""


def _protocol_sentence(protocol: Mapping[str, Any]) -> str:
    said = " ".join(str(protocol.get("said") or "").split())
    said = _ended(said[:1].upper() + said[1:]) if said else ""
    n = protocol.get("gallery_identities")
    if isinstance(n, int):
        counted = f"{number(n)} {plural('identity', n)}"
        said += f" {'They have' if protocol.get('own_gallery') else 'The gallery has'} {counted}."
    return said.strip()


def _unmatched_sentence(protocol: Mapping[str, Any]) -> str:
    unmatched, queries = protocol.get("unmatched"), protocol.get("queries")
    if not isinstance(unmatched, int) or not unmatched:
        return ""
    if unmatched == 1:
        return f"One of {number(queries)} queries has nothing to find and counts in no score."
    return (
        f"{number(unmatched)} of {number(queries)} queries have nothing to find and count in no "
        "score."
    )


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."
