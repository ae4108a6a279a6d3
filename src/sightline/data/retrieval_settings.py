"""The ``data`` section of retrieval: pictures of objects, several of each, sorted into classes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sightline.data.settings import DataConfig

_ONE_SPLIT = "retrieval validates on one split, so there are no folds"
_UNREAD = {
    "folds": _ONE_SPLIT,
    "fold_col": _ONE_SPLIT,
    "valid_fold": _ONE_SPLIT,
    "sample_csv": "there is no submission",
    "image_dir_test": "there is no submission",
}
"""Keys of DataConfig that nothing reads here, and why."""
_BY_OBJECT_ONLY = {
    "stratify": "whole classes are carved off, so none has a share in every split",
    "on_unvalidated_class": "no class of validation is one of training",
}
"""Keys that nothing reads where whole classes are carved off, and why."""
_NAMES_OBJECTS = ("group_pattern", "group_col", "manifest")


class RetrievalDataConfig(DataConfig):
    """Pictures of objects in classes; name one of root, train_csv, manifest and digits."""

    objects: Literal["file_name", "picture"] = "file_name"
    """How pictures of one object are known where no group_pattern, group_col or manifest says:
    file_name, the stem up to the last underscore if a number follows it (017_3.jpg shows object
    017), else the whole stem; picture, each picture shows an object of its own."""
    split_by: Literal["object", "class"] = "object"
    """What is carved off whole: object, so that every class is in every split; class, so that
    validation and test have classes that training never sees."""
    min_image_size: Annotated[int, Field(ge=0)] = 224
    """Least width and height in pixels; an object with a smaller picture is left out with all its
    pictures, and listed in excluded.csv. A manifest is used as it is."""

    @property
    def names_groups(self) -> bool:
        """Whether something says which pictures show one object; file names do by default."""
        return self.objects == "file_name" or super().names_groups

    @model_validator(mode="after")
    def _check_retrieval_keys(self) -> Self:
        for key, why in _UNREAD.items():
            if self._is_changed(key):
                raise ValueError(f"{key} is not read in retrieval: {why}; leave it out")
        for key, why in _BY_OBJECT_ONLY.items():
            if self.split_by == "class" and self._is_changed(key):
                raise ValueError(f"{key} is not read with split_by class: {why}; leave it out")
        for key in _NAMES_OBJECTS:
            if self._is_changed("objects") and self._is_changed(key):
                raise ValueError(
                    f"objects {self.objects} and {key} both say which pictures show one object; "
                    "leave one of them out"
                )
        return self
