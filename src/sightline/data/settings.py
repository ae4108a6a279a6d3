"""The ``data`` section of a configuration: where samples come from, their splits, loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sightline.data.augment_settings import AugmentConfig
from sightline.data.sample_settings import Fraction, SampleDataConfig

if TYPE_CHECKING:
    from sightline.data.decode import Pixels

Source = Literal["none", "folder", "csv", "manifest", "digits"]

# Which keys only one source reads: set with another source they would be ignored in silence.
_SOURCE_KEYS: dict[Source, str] = {
    "folder": "root",
    "csv": "train_csv",
    "manifest": "manifest",
    "digits": "digits",
}
_CSV: tuple[Source, ...] = ("csv",)
_READ_BY: dict[str, tuple[Source, ...]] = {
    "image_dir_train": ("csv", "manifest"),
    "image_dir_test": _CSV,
    "sample_csv": _CSV,
    "image_ext": _CSV,
    "id_col": _CSV,
    "target_col": _CSV,
    "group_col": _CSV,
    "split_col": _CSV,
    "fold_col": _CSV,
    "camera_col": _CSV,
    "mask_col": _CSV,
    "class_names": ("folder", "csv", "digits"),
    "group_pattern": ("folder", "csv", "digits"),
}


class DataConfig(SampleDataConfig):
    """Samples, splits and loading; name one of root, train_csv, manifest and digits."""

    tree: ClassVar[Literal["classes", "defects", "identities"]] = "classes"
    margin: ClassVar[float] = 8 / 7
    """Decoded pictures are kept this much larger than what a model sees, so that crops lose little
    detail."""

    root: Path | None = None
    """A folder with one folder of pictures per class, or with train/val/test folders of such
    folders."""
    train_csv: Path | None = None
    """A table with one row per picture; comma, semicolon or tab, UTF-8, a header in the first
    line."""
    sample_csv: Path | None = None
    """The sample submission, whose ids and order a submission must have."""
    image_dir_train: Path | None = None
    """The folder of the table's pictures; without it the folder that holds the table."""
    image_dir_test: Path | None = None
    """The folder of the sample submission's pictures; without it the folder that holds it."""
    image_ext: str = ".jpg"
    """Added to an id that is no file name; other image extensions are tried after it."""
    id_col: str = "ID"
    """The table's column of ids: file names, with or without extension, perhaps with folders."""
    target_col: str = "target"
    """The table's column of labels."""
    group_col: str | None = None
    """The table's column of groups (object, patient, page ...), never divided between splits."""
    split_col: str | None = None
    """The table's column of splits: train, val, test, query or gallery."""
    fold_col: str | None = None
    """The table's column of fold numbers from 0; checked for leaks, then used instead of new
    folds."""
    camera_col: str | None = None
    """The table's column of cameras (re-identification)."""
    mask_col: str | None = None
    """The table's column of mask files, relative to the picture folder (anomaly detection)."""
    manifest: Path | None = None
    """A table, or a folder of one, written by `sightline split`: splits and a hash of each file's
    content."""
    digits: Path | None = None
    """A folder that holds, or is to hold, the handwritten digits bundled with scikit-learn."""
    verify_files: bool = True
    """Compare each file with the hash in the manifest before it is used."""
    class_names: tuple[str, ...] | None = None
    """The classes to use; without it every class found."""
    group_pattern: str | None = None
    """A regular expression with one group that finds the object's name in an id, one group per
    class and name; for plant/017_3.jpg: `([^/]+)_\\d+\\.\\w+$`."""
    group_duplicates: bool = True
    """Keep byte-identical files in one split."""
    val_fraction: Fraction = 0.15
    """Share of each class carved off for validation where the data does not say."""
    test_fraction: Fraction = 0.15
    """Share of each class carved off and sealed for the test where the data does not say."""
    folds: Annotated[int, Field(ge=0)] = 0
    """Number of cross-validation folds over everything but the test; 0 for one validation split."""
    valid_fold: Annotated[int, Field(ge=0)] | Literal["all"] = 0
    """The fold to validate on, counted from 0; `all` trains every fold in turn, in one run."""
    stratify: bool = True
    """Keep the share of every class alike in all splits and folds."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What to do with a file that cannot be decoded; skip logs and counts it."""
    on_unvalidated_class: Literal["error", "note"] = "error"
    """What to do where a class has 3 groups or more for training and none for validation."""
    min_image_size: Annotated[int, Field(ge=0)] = 0
    """Least width and height in pixels; `check` names what is smaller."""
    workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that decode; 0 decodes in the main process, empty chooses from the processor
    count."""
    cache: Literal["auto", "on", "off"] = "auto"
    """Keep decoded pictures on disk; auto does so while they fit."""
    cache_dir: Path | None = None
    """Where the cache lives; without it the user's cache folder."""
    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How a picture is brought to the model's shape: crop takes the largest central part of that
    shape, pad takes the whole picture and fills the margins, stretch squeezes it."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes to training pictures."""

    def evaluation_view(self, seed: int) -> Callable[[Pixels, str], Pixels] | None:
        """What changes some evaluation pictures (made defects); for most data nothing."""
        return None

    @property
    def fold_count(self) -> int:
        """Cross-validation folds; 0: one validation split."""
        return self.folds

    @property
    def held_out_fold(self) -> int | Literal["all"] | None:
        """The fold that validation is, or all in turn; None without folds."""
        return self.valid_fold if self.folds else None

    @property
    def trains_every_fold(self) -> bool:
        """Whether every fold is trained in turn, in one run."""
        return self.valid_fold == "all"

    @property
    def variant(self) -> str:
        """The augmentation, which the log file's name has always told."""
        return self.augment.preset

    @property
    def names_groups(self) -> bool:
        """Whether something says which pictures belong together, beside identical files."""
        return bool(self.group_col or self.group_pattern or self.manifest)

    @property
    def source(self) -> Source:
        """Which of the four sources is named, or "none"."""
        for source, key in _SOURCE_KEYS.items():
            if getattr(self, key) is not None:
                return source
        return "none"

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        named = [key for key in _SOURCE_KEYS.values() if getattr(self, key) is not None]
        if len(named) > 1:
            raise ValueError(f"name one source of samples, not {len(named)}: {', '.join(named)}")
        if not named:
            return self
        for key, sources in _READ_BY.items():
            changed = getattr(self, key) != type(self).model_fields[key].default
            if changed and self.source not in sources:
                readers = " or ".join(
                    _SOURCE_KEYS[name] for name in _SOURCE_KEYS if name in sources
                )
                raise ValueError(f"{key} is not read with data.{named[0]}, only with {readers}")
        return self

    @model_validator(mode="after")
    def _check_amounts(self) -> Self:
        if self.fold_col is not None and not self.folds:
            raise ValueError("fold_col is used only with folds; say how many it has, as folds=5")
        if self.folds and self.val_fraction != type(self).model_fields["val_fraction"].default:
            raise ValueError(
                f"val_fraction is used only without folds: with {self.folds} folds each is the "
                "validation of one training; leave it out, or set folds to 0"
            )
        if self.folds == 1:
            raise ValueError("folds must be 0 (one validation split) or at least 2, got 1")
        if not self.folds and self.valid_fold != 0:
            raise ValueError(
                f"valid_fold is used only with folds: {self.valid_fold} with folds 0; "
                "set for example folds to 5"
            )
        if self.folds and self.valid_fold != "all" and self.valid_fold >= self.folds:
            raise ValueError(
                f"valid_fold must be below folds: {self.valid_fold} with {self.folds} folds"
            )
        return self

    @model_validator(mode="after")
    def _check_pattern(self) -> Self:
        import re

        if self.group_pattern is not None:
            try:
                groups = re.compile(self.group_pattern).groups
            except re.error as error:
                raise ValueError(f"group_pattern is no regular expression: {error}") from error
            if groups != 1:
                raise ValueError(
                    f"group_pattern needs exactly one group in round brackets, it has {groups}"
                )
        return self
