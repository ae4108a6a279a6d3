"""How a report puts numbers, times and decisions into words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sightline.reports.history import measure

if TYPE_CHECKING:
    from sightline.reports.record import RunRecord

MISSING = "–"
_TITLES = {
    "lr": "learning rate",
    "valid_loss": "validation loss",
    "val_loss": "validation loss",
    "train_loss": "training loss",
    "image_f1": "image F1 at the threshold",
    "map_at_r": "mAP@R",
    "object_recall_at_1": "Recall@1 by object",
    "r_precision": "R-precision",
}
_WORDS = {
    "ap": "AP",
    "aupro": "AUPRO",
    "auroc": "AUROC",
    "ece": "ECE",
    "f1": "F1",
    "knn": "kNN",
    "map": "mAP",
    "minp": "mINP",
    "mrr": "MRR",
    "nll": "NLL",
    "pro": "PRO",
    "reranked": "re-ranked",
}
_RECALL_AT = re.compile(r"recall_at_(\d+)")
_RANK = re.compile(r"\brank_(\d+)")
_UNSEALED = " The test split played no part in that choice."
_SPLITS = {"val": "validation", "train": "training", "oof": "out-of-fold"}


def metric_title(name: str) -> str:
    """Return the name of a metric for a heading.

    >>> metric_title("macro_f1"), metric_title("pixel_auroc"), metric_title("train_loss (fold 1)")
    ('Macro F1', 'Pixel AUROC', 'Training loss (fold 1)')
    >>> metric_title("recall_at_5"), metric_title("knn_accuracy"), metric_title("map_at_r")
    ('Recall@5', 'kNN accuracy', 'mAP@R')
    >>> metric_title("minp"), metric_title("rank_1_reranked"), metric_title("train_triplet")
    ('mINP', 'Rank-1 re-ranked', 'Train triplet')
    """
    plain = measure(name)
    words = _RANK.sub(r"rank-\1", _RECALL_AT.sub(r"Recall@\1", plain)).split("_")
    title = _TITLES.get(plain) or " ".join(_WORDS.get(word, word) for word in words)
    title = title if title.startswith(("mAP", "mINP", "kNN")) else title[:1].upper() + title[1:]
    return title + name[len(plain) :]


def split_title(split: str, *, out_of_fold: bool = False) -> str:
    """Return the name of a split in a sentence: val is validation, train is training.

    >>> split_title("val"), split_title("val", out_of_fold=True), split_title("train")
    ('validation', 'validation (out of fold)', 'training')
    """
    title = _SPLITS.get(split, split)
    return f"{title} (out of fold)" if out_of_fold and split == "val" else title


def number(value: Any, digits: int = 3) -> str:
    """Return a number for a table: few digits for a fraction, a power of ten where it is tiny.

    >>> number(0.91234), number(None), number(0.0003), number(1234567)
    ('0.912', '–', '3.00e-04', '1,234,567')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return MISSING
    if isinstance(value, int):
        return f"{value:,}"
    if value and abs(value) < 10 ** (1 - digits):
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{digits}f}"


def score(value: Any) -> str:
    """Return a score between 0 and 1 with three decimals, however small it is.

    >>> score(0.0076), score(1), score(None)
    ('0.008', '1.000', '–')
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return f"{value:.3f}" if is_number else MISSING


def moment(text: Any) -> str:
    """Return an ISO 8601 time to the second, as people read it; other text as it is."""
    try:
        return datetime.fromisoformat(str(text)).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return str(text) if text else MISSING


def duration(start: Any, end: Any) -> str:
    """Return the time between two ISO 8601 times.

    >>> duration("2026-01-01T10:00:00", "2026-01-01T11:02:03")
    '1 h 2 min'
    """
    try:
        span = datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))
        seconds = round(span.total_seconds())
    except (ValueError, TypeError):
        return MISSING
    return time_span(seconds)


def time_span(seconds: float) -> str:
    """Return a number of seconds as people say it.

    >>> time_span(3723.0), time_span(61), time_span(2.4)
    ('1 h 2 min', '1 min 1 s', '2 s')
    """
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def choice_sentence(record: RunRecord) -> str:
    """Return how the checkpoint behind the numbers was chosen, in one plain sentence."""
    best = record.info.get("best")
    if record.folds and record.folds.folds:
        return (
            "Each fold keeps the checkpoint of the epoch that was best on the fold's own held-out "
            "images; its epoch stands in the table of folds." + _UNSEALED
        )
    if record.ensemble:
        return "An ensemble is not trained: its members' checkpoints were chosen in their own runs."
    if record.computed:
        return (
            "The model was computed from the training images in one pass, not trained: there was "
            "no epoch to choose."
        )
    if not isinstance(best, Mapping) or best.get("metric") is None:
        return "No epoch has been marked as the best one, so no checkpoint was chosen by a metric."
    train = record.config.get("train")
    mode = train.get("mode") if isinstance(train, Mapping) else None
    if str(best["metric"]).rpartition("/")[2] in ("loss", "valid_loss"):
        mode = "min"
    extreme = {"max": "highest", "min": "lowest"}.get(str(mode), "best")
    # A metric is named alone, or with its split in front: "val/macro_f1".
    split, _, metric = str(best["metric"]).rpartition("/")
    name = metric_title(metric)
    name = name if name[1:2].isupper() or "@" in name else name[:1].lower() + name[1:]
    if split or not name.startswith(("validation", "training")):
        name += f" on the {split_title(split or 'val')} split"
    seal = "" if split == "test" else _UNSEALED
    return (
        f"The best checkpoint is that of epoch {best.get('epoch', '?')}, the one with the "
        f"{extreme} {name} ({number(best.get('value'), 4)}).{seal}"
    )


def sealed_sentence(record: RunRecord) -> str:
    """Return whether and how often the sealed test split was read, in plain words."""
    reads = [read for read in record.info.get("test_reads") or [] if isinstance(read, Mapping)]
    if "test" not in record.evaluations:
        if reads:
            return "The test split was read, but the file with its result is not in the run folder."
        return (
            "The test split has not been read yet. What is shown comes from other splits; read it "
            "once, when every choice is made, with “sightline evaluate RUN --split test”."
        )
    if not reads:
        return "There is a test result, but run.json holds no record of the test split being read."
    last = f"last on {moment(reads[-1].get('time'))} with {reads[-1].get('checkpoint', 'unknown')}"
    if len(reads) == 1:
        return f"The test split was read once, {last.removeprefix('last ')}."
    return (
        f"The test split was read {len(reads)} times, {last}. Choosing between readings makes the "
        "result too good."
    )
