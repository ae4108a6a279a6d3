"""The ``data`` section of anomaly detection: normal pictures to learn from, defects to find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from sightline.data.augment_settings import AugmentConfig
from sightline.data.sample_settings import Fraction
from sightline.data.settings import DataConfig, Source

if TYPE_CHECKING:
    from sightline.data.decode import Pixels

Layout = Literal["auto", "mvtec", "visa", "btad"]

_READ_BY: dict[str, tuple[Source, ...]] = {
    "layout": ("folder",),
    "category": ("folder",),
    "normal_label": ("csv",),
    "test_fraction": ("csv",),
}
_SOURCE_KEYS = {"folder": "root", "csv": "train_csv"}

_UNREAD = {
    "class_names": "every defect type is used",
    "folds": "training learns from normal pictures only, so there are no folds",
    "fold_col": "training learns from normal pictures only, so there are no folds",
    "valid_fold": "training learns from normal pictures only, so there are no folds",
    "stratify": "only normal pictures are divided, which are one class",
    "on_unvalidated_class": "validation holds normal pictures",
    "sample_csv": "there is no submission",
    "image_dir_test": "there is no submission",
}
"""Keys of DataConfig that nothing reads here, and why."""


class PlainAugmentConfig(AugmentConfig):
    """Random changes to training pictures; every key left empty takes the preset's value."""

    preset: Literal["none", "basic", "strong", "document", "hard"] = "none"
    """The set of values to start from; none leaves only the resize that evaluation uses."""


class AnomalyDataConfig(DataConfig):
    """Normal pictures and defects; name one of root, train_csv, manifest and digits."""

    tree: ClassVar[Literal["classes", "defects", "identities"]] = "defects"
    margin: ClassVar[float] = 4.0
    """Texture is what is looked at, and each time a picture is resized takes some of it: so most
    pictures are resized once, and those that are larger than this hardly twice."""

    root: Path | None = None
    """A folder with train/good, test/TYPE and ground_truth/TYPE, or with one such folder per
    category."""
    layout: Layout = "auto"
    """How the folder is laid out: mvtec (train/good, test/TYPE, ground_truth/TYPE), btad (the same
    with ok and ko), visa (split_csv/1cls.csv)."""
    category: str | None = None
    """The category to use of a folder that holds several, such as bottle; `all` for every one."""
    normal_label: str = "good"
    """The table's label of normal pictures; in folders it is good or ok."""
    val_fraction: Fraction = 0.2
    """Share of the normal training pictures carved off for validation where the data does not
    say."""
    test_fraction: Fraction = 0.15
    """Share of a table's normal pictures sealed for the test, beside all defects, where the table
    does not say."""
    synthetic_defects: bool = False
    """Add a copy of every normal validation picture with a defect made by CutPaste or noise."""
    hold_out: Literal["series", "single"] = "series"
    """What is carved off as one: runs of pictures with consecutive names, which were taken one
    after another and resemble each other, or single pictures; groups always stay whole."""
    fit: Literal["crop", "pad", "stretch"] = "stretch"
    """How a picture is made square: stretch squeezes it, crop takes the central square, pad takes
    the whole picture and fills the margins."""
    augment: PlainAugmentConfig = PlainAugmentConfig()
    """Random changes to training pictures."""

    def evaluation_view(self, seed: int) -> Callable[[Pixels, str], Pixels] | None:
        """What puts a defect on the copies that have none yet."""
        if not self.synthetic_defects:
            return None
        from sightline.data.synthetic_defects import SyntheticDefects

        return SyntheticDefects(seed)

    @model_validator(mode="after")
    def _check_defect_keys(self) -> Self:
        fields = type(self).model_fields
        for key, why in _UNREAD.items():
            if getattr(self, key) != fields[key].default:
                raise ValueError(f"{key} is not read in anomaly detection: {why}; leave it out")
        if self.source == "none":
            return self
        for key, sources in _READ_BY.items():
            if getattr(self, key) != fields[key].default and self.source not in sources:
                readers = " or ".join(_SOURCE_KEYS[source] for source in sources)
                raise ValueError(f"{key} is read only with {readers}")
        return self
