"""The class every part of a configuration inherits from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen, strict group of settings; each field has one docstring line under it.

    Unknown keys are refused, text is never taken for a number or a boolean, an integer is accepted
    for a float, and NaN and infinity are not. Validators must not touch the disk: relative paths
    become absolute only after validation. They must not look at `model_fields_set` either: a
    saved configuration holds every key. Defaults are checked by load_config, not by the class:
    read from JSON, pydantic's strict mode refuses the default of every path.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def _is_changed(self, key: str) -> bool:
        """Whether a setting has another value than its default."""
        return bool(getattr(self, key) != type(self).model_fields[key].default)
