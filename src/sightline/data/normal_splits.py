"""Splits of anomaly detection: only normal pictures are learnt from and divided."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sightline.data.defect_labels import NORMAL, is_normal
from sightline.data.defect_settings import AnomalyDataConfig
from sightline.data.groups import units
from sightline.data.manifest import SPLITS, Category, Manifest, shortened
from sightline.data.series import series_of
from sightline.data.splits import assign_splits
from sightline.errors import DataError

_RUNS = 8
"""About so many series make the smaller of the parts that are carved off: pictures of one series
count as little more than one, so a few long ones would not stand for all."""
_TRAIN, _FIT = SPLITS.index("train"), SPLITS.index("fit")
_VAL, _TEST = SPLITS.index("val"), SPLITS.index("test")


def assign_normal_splits(
    manifest: Manifest, config: AnomalyDataConfig, *, seed: int
) -> tuple[Manifest, list[str]]:
    """The manifest with every row in fit, val or test, and sentences about what is remarkable.

    With `hold_out` series, runs of pictures that were taken one after another are not divided: a
    validation that resembles training would set a threshold that new pictures exceed.

    Splits that the data gives are kept, and validation is carved from the normal training pictures
    where it is absent. Without any, normal pictures are divided by the fractions and every defect
    is test, as is a normal picture in a group with a defect. Defects without a split are test. Fit
    never holds one. All else is as in assign_splits.

    Raises DataError for defects in train or fit, and where no normal picture is left to fit.
    """
    normal = is_normal(manifest)
    _refuse_defects_in_train(manifest)
    if not (normal & (manifest.split <= _FIT)).any():
        raise DataError(
            f"None of {len(manifest)} pictures is both normal and for training.",
            expected=f"pictures labelled {NORMAL!r} whose split is train or empty",
            where=manifest.root,
            remedy="add normal pictures to train/good, or correct the columns of labels and splits",
        )
    split = manifest.split.copy()
    loose = ~normal & (split == 0)
    split[loose] = _TEST
    has_splits = bool((manifest.split[normal] > 0).any())
    if has_splits:
        carved, notes = _carved(
            manifest.with_split(split), normal, config, test_fraction=0, seed=seed
        )
        divided = manifest.with_split(carved)
        if loose.any():
            notes.append(f"{loose.sum()} defects without a split are in test.")
        return divided, [*notes, *_one_sided(divided)]
    parts = units(manifest).unit
    beside = normal & np.isin(parts, parts[~normal])
    split[beside] = _TEST
    rows = np.flatnonzero(normal & ~beside)
    notes = []
    if beside.any():
        notes.append(
            f"{beside.sum()} normal pictures share a group with a defect and are in test with it."
        )
    if not len(rows):
        raise DataError(
            "Every normal picture shares a group with a defect, so none is left to train on.",
            got=shortened(manifest.id[beside]),
            where=manifest.root,
            remedy="give the data a column of splits, or correct the groups",
        )
    part = manifest.select(rows)
    split[rows], more = _carved(
        part, np.ones(len(part), bool), config, test_fraction=config.test_fraction, seed=seed
    )
    divided = manifest.with_split(split)
    if loose.any():
        notes.append(
            f"The data gives no splits: its {loose.sum()} defects are in test and its normal "
            "pictures are divided."
        )
    return divided, [*notes, *more, *_one_sided(divided)]


def _carved(
    manifest: Manifest,
    normal: npt.NDArray[np.bool_],
    config: AnomalyDataConfig,
    *,
    test_fraction: float,
    seed: int,
) -> tuple[npt.NDArray[np.int8], list[str]]:
    """Split codes (N,) as assign_splits gives them, series of normal pictures undivided."""
    alone = np.flatnonzero(normal & (manifest.split <= _FIT) & (manifest.group.codes < 0))
    shares = [share for share in (config.val_fraction, test_fraction) if share > 0]
    if config.hold_out == "series" and len(alone) and shares:
        size = max(1, round(min(shares) * len(alone) / _RUNS))
        groups = [manifest.group.text(row) for row in range(len(manifest))]
        runs = series_of([str(one) for one in manifest.path[alone]], size)
        for row, run in zip(alone, runs.tolist(), strict=True):
            groups[row] = f"<series {run}>"
        manifest = manifest.with_group(Category.encode(groups))
    divided, notes = assign_splits(
        manifest, test_fraction=test_fraction, val_fraction=config.val_fraction, seed=seed
    )
    return divided.split, notes


def _refuse_defects_in_train(manifest: Manifest) -> None:
    rows = np.flatnonzero(~is_normal(manifest) & np.isin(manifest.split, (_TRAIN, _FIT)))
    if len(rows):
        listed = [
            f"{manifest.id[row]} ({manifest.label.text(int(row)) or 'no label'})" for row in rows
        ]
        raise DataError(
            f"{len(rows)} defects are in train, where only normal pictures are learnt from.",
            expected=f"the label {NORMAL!r} for every training picture (folders: good or ok)",
            got=shortened(listed),
            where=manifest.root,
            remedy="move them to test/TYPE, or correct their labels",
        )


def _one_sided(manifest: Manifest) -> list[str]:
    """Sentences about splits that cannot show everything, and about defects without a mask."""
    normal = is_normal(manifest)
    notes = []
    if not (manifest.split == _TEST).any():
        notes.append("There is no test split: nothing shows how well defects are found.")
    for code, name in ((_TEST, "test"), (_VAL, "val")):
        good = int((normal & (manifest.split == code)).sum())
        bad = int((~normal & (manifest.split == code)).sum())
        if code == _TEST and good + bad and not good * bad:
            only = f"{good} normal pictures and no defect" if good else f"{bad} defects and no "
            only += "" if good else "normal picture"
            notes.append(f"The test has {only}: scores that compare the two are undefined (NaN).")
        if code == _VAL and bad and not good:
            notes.append(
                f"The validation split has {bad} defects and no normal picture, so no threshold "
                "can be set for a budget of false alarms."
            )
        masks = manifest.mask[~normal & (manifest.split == code)]
        bare = int((masks == "").sum())
        if bare:
            notes.append(
                f"{bare} of {bad} defects of {name} have no mask; pixel scores leave them out."
            )
    return notes
