"""A codec as a folder: codec.json says what it is, codec.safetensors holds its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.errors import CheckpointError, DataError
from sightline.models.codec import Codec, make_codec
from sightline.runs.plain import to_json
from sightline.search import staging

FORMAT = 1
DESCRIPTION = "codec.json"
TENSORS = "codec.safetensors"


def save_codec(codec: Codec, folder: Path, *, about: Mapping[str, Any] | None = None) -> None:
    """Write a codec as a folder, beside and renamed, in place of a codec that has the name.

    `about` is plain data that is kept with it: the rows it was fitted to, seed, recalls. Raises
    DataError where something else has the name, RunError where the place cannot be written.
    """
    from safetensors.torch import save_file

    refuse_foreign(folder)
    described = {"format": FORMAT, "codec": codec.describe(), "about": dict(about or {})}
    tensors = {name: value.contiguous().cpu() for name, value in codec.state_dict().items()}
    staged = staging.begin(folder)
    try:
        (staged / DESCRIPTION).write_text(to_json(described, indent=1) + "\n", encoding="utf-8")
        save_file(tensors, staged / TENSORS)
        staging.commit(staged, folder)
    except OSError as error:
        staging.abandon(staged)
        raise staging.unwritable(folder, error) from error
    except BaseException:
        staging.abandon(staged)
        raise


def load_codec(folder: Path | str) -> Codec:
    """The codec that `save_codec` wrote; CheckpointError for a folder that holds none, whole."""
    folder = Path(folder)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    described = describe_codec(folder)
    try:
        codec = make_codec(described["codec"])
        codec.load_state_dict(load_file(folder / TENSORS))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(
            "The codec cannot be read: a file is missing, damaged, or of another codec.",
            expected=f"{DESCRIPTION} and {TENSORS} as they were written together",
            got=(str(error).strip() or type(error).__name__).splitlines()[0][:200],
            where=folder,
            remedy="copy the folder again, or make the codec anew",
        ) from error
    return codec.eval()


def describe_codec(folder: Path) -> dict[str, Any]:
    """What codec.json says: format, codec, about. CheckpointError where it says nothing."""
    try:
        found = json.loads((folder / DESCRIPTION).read_bytes())
        form = found["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "This is no folder of a codec.",
            expected=f"a folder with {DESCRIPTION} and {TENSORS}",
            where=folder,
            remedy="name the folder that `sightline compress` wrote",
        ) from error
    if form != FORMAT:
        raise CheckpointError(
            "The codec was written by another version.",
            expected=f"format {FORMAT}",
            got=f"format {form}",
            where=folder,
        )
    described: dict[str, Any] = found
    return described


def refuse_foreign(folder: Path) -> None:
    """Raise DataError where a folder, or a file, has the name that is none of a codec."""
    if not folder.exists():
        return
    names = {one.name for one in folder.iterdir()} if folder.is_dir() else {"a file"}
    foreign = sorted(names - {DESCRIPTION, TENSORS, "model.onnx"})
    if foreign:
        raise DataError(
            "The place for the codec is taken by something else.",
            expected="no folder, an empty one, or a codec",
            got=", ".join(foreign[:5]),
            where=folder,
            remedy="name another folder, or move this one away",
        )
