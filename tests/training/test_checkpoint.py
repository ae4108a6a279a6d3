"""Checkpoint files: whole or not at all, and nothing in them is ever run."""

from __future__ import annotations

import enum
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sightline.errors import CheckpointError
from sightline.training.checkpoint import (
    link_checkpoint_file,
    load_checkpoint_file,
    plain,
    remove_partial_files,
    save_checkpoint_file,
)
from sightline.training.trainer import BaseTrainer

TARGET = Path("folder/latest_model.pth")


def message(error: BaseException, *parts: str) -> str:
    """The error's text, which names every part and fits a screen."""
    text = str(error)
    missing = [part for part in parts if part not in text]
    assert not missing, (missing, text)
    assert "do:" in text
    assert text.count("\n") < 8, text
    assert all(len(line) < 400 for line in text.splitlines()), text
    return text


def test_what_is_saved_comes_back() -> None:
    state = {"model": nn.Linear(2, 3).state_dict(), "epoch": 3, "about": {"names": ["a", "b"]}}
    save_checkpoint_file(state, TARGET)
    loaded = load_checkpoint_file(TARGET)
    assert loaded["epoch"] == 3
    assert loaded["about"] == {"names": ["a", "b"]}
    assert torch.equal(loaded["model"]["weight"], state["model"]["weight"])  # type: ignore[index]
    assert loaded["model"]._metadata[""]["version"] == 1
    assert [path.name for path in TARGET.parent.iterdir()] == ["latest_model.pth"]


FULL_DISK = """
import resource, sys, torch
from pathlib import Path
from sightline.errors import CheckpointError
from sightline.training.checkpoint import link_checkpoint_file, save_checkpoint_file
target = Path("folder/latest_model.pth")
save_checkpoint_file({"epoch": 1, "model": torch.zeros(10)}, target)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint_file({"epoch": 2, "model": torch.zeros(1_000_000)}, target)
except CheckpointError as error:
    print(error)
    sys.exit(5)
"""


def test_full_disk_leaves_the_old_file_and_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL_DISK], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 5, done.stderr
    assert "latest_model.pth could not be written" in done.stdout
    assert "File too large" in done.stdout
    assert "free some space" in done.stdout
    assert [path.name for path in TARGET.parent.iterdir()] == ["latest_model.pth"]
    assert load_checkpoint_file(TARGET)["epoch"] == 1


def test_full_file_system_leaves_the_old_file_and_nothing_else() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a tiny file system needs root on Linux")
    Path("folder").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", "folder"], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine does not allow mounting a file system")
    try:
        save_checkpoint_file({"epoch": 1, "model": torch.zeros(10)}, TARGET)
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint_file({"epoch": 2, "model": torch.zeros(1_000_000)}, TARGET)
        message(caught.value, "No space left", "free some space", "latest_model.pth")
        assert [path.name for path in TARGET.parent.iterdir()] == ["latest_model.pth"]
        assert load_checkpoint_file(TARGET)["epoch"] == 1
    finally:
        subprocess.run(["umount", "folder"], check=True)


def test_place_below_a_file_is_named_with_its_remedy() -> None:
    Path("file").write_text("in the way")
    target = Path("file/ckpt/latest_model.pth")
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint_file({"epoch": 1}, target)
    text = message(caught.value, str(target), "move away", "output.exp_dir")
    assert "space" not in text
    with pytest.raises(CheckpointError, match=r"output\.exp_dir"):
        link_checkpoint_file(Path("file"), target)


def test_folder_that_may_not_be_written_is_named_with_its_remedy() -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    Path("folder").mkdir(mode=0o500)
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint_file({"epoch": 1}, TARGET)
    message(caught.value, "Permission denied", "allow writing there")


@pytest.mark.parametrize("kept", [0, 10, 1000, -100, -1])
def test_truncated_file_is_refused_and_others_are_named(kept: int) -> None:
    save_checkpoint_file({"model": torch.zeros(1000)}, TARGET)
    save_checkpoint_file({"model": torch.zeros(1)}, TARGET.with_name("best_model.pth"))
    TARGET.write_bytes(TARGET.read_bytes()[:kept])
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint_file(TARGET)
    message(caught.value, "damaged or cut short", str(TARGET), "best_model.pth")


class Boom:
    """An object that leaves a trace when it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.mkdir, ("code_was_run",))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_object_is_refused_and_its_code_not_run(legacy: bool) -> None:
    TARGET.parent.mkdir()
    torch.save({"format": 1, "model": Boom()}, TARGET, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint_file(TARGET)
    message(caught.value, str(TARGET), "nothing was loaded" if legacy else "mkdir")
    assert not Path("code_was_run").exists()


def test_plain_pickle_is_refused_and_its_code_not_run() -> None:
    TARGET.parent.mkdir()
    TARGET.write_bytes(pickle.dumps(Boom()))
    with pytest.raises(CheckpointError):
        load_checkpoint_file(TARGET)
    assert not Path("code_was_run").exists()


@pytest.mark.parametrize("state", [{"format": 99}, {"weight": torch.zeros(1)}, [1, 2]])
def test_file_of_another_format_is_refused(state: Any) -> None:
    TARGET.parent.mkdir()
    torch.save(state, TARGET)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint_file(TARGET)
    message(caught.value, "format 1", str(TARGET), "model.weights")


def test_other_zip_and_missing_files_are_refused() -> None:
    TARGET.parent.mkdir()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint_file(TARGET)
    message(caught.value, "not there", str(TARGET))
    with pytest.raises(CheckpointError, match="not there"):
        load_checkpoint_file(TARGET.parent)
    with zipfile.ZipFile(TARGET, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint_file(TARGET)
    message(caught.value, "damaged", str(TARGET))


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def test_numbers_and_names_become_plain() -> None:
    """numpy.float64 is a float and numpy.str_ a str, but both are pickled as objects."""
    values = {
        "score": np.float64(0.5),
        "single": np.float32(0.25),
        "count": np.int64(3),
        np.str_("name"): np.str_("text"),
        "flag": np.bool_(True),
        "scalar": np.array(7),
        "array": np.arange(3, dtype=np.int64),
        "colour": Colour.RED,
        "level": Level.HIGH,
        "path": Path("a/b"),
        "set": {1},
        "nested": (np.float64(1.0), [None, True]),
    }
    save_checkpoint_file({"values": values}, TARGET)
    loaded = load_checkpoint_file(TARGET)["values"]
    assert torch.equal(loaded.pop("array"), torch.arange(3))
    assert loaded == {
        "score": 0.5,
        "single": 0.25,
        "count": 3,
        "name": "text",
        "flag": True,
        "scalar": 7,
        "colour": "red",
        "level": 3,
        "path": "a/b",
        "set": [1],
        "nested": (1.0, [None, True]),
    }
    assert {type(value) for value in loaded.values()} == {float, int, str, bool, list, tuple}


@pytest.mark.parametrize("value", [object(), len, torch.float32, np.array(["a"]), 1j])
def test_what_is_not_plain_is_refused_before_anything_is_written(value: Any) -> None:
    save_checkpoint_file({"epoch": 1}, TARGET)
    with pytest.raises(CheckpointError) as caught:
        save_checkpoint_file({"about": {"deep": [value]}}, TARGET)
    message(caught.value, type(value).__name__, "plain data")
    assert load_checkpoint_file(TARGET)["epoch"] == 1
    assert [path.name for path in TARGET.parent.iterdir()] == ["latest_model.pth"]


def test_plain_does_not_share_memory_with_read_only_arrays() -> None:
    array = np.zeros(2)
    array.setflags(write=False)
    assert plain(array).tolist() == [0.0, 0.0]
    assert isinstance(plain(OrderedDict(a=1)), dict)


def test_metrics_from_numpy_can_be_resumed() -> None:
    class Toy(BaseTrainer):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.model(batch).mean()}

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            return None

        def compute_metrics(self, outputs: list[Any]) -> Any:
            return {"loss": np.float64(0.5), "f1": torch.tensor(0.5)}

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.model.parameters(), lr=np.float64(0.1))

    trainer = Toy(nn.Linear(2, 1), None, "cpu", "ckpt")
    trainer.about = {"mean": np.float64(0.3)}
    trainer.fit([torch.zeros(1, 2)], [torch.zeros(1, 2)], 1)
    again = Toy(nn.Linear(2, 1), None, "cpu", "ckpt")
    info = again.load_checkpoint("ckpt/latest_model.pth")
    assert info["metrics"] == {"loss": 0.5, "f1": 0.5}
    assert info["about"] == {"mean": 0.3}


def test_second_name_is_a_link_where_links_are_possible() -> None:
    save_checkpoint_file({"epoch": 1}, TARGET)
    kept = TARGET.with_name("epoch_001.pth")
    link_checkpoint_file(TARGET, kept)
    assert kept.samefile(TARGET)
    link_checkpoint_file(TARGET, kept)
    assert len(list(TARGET.parent.iterdir())) == 2, "a name that is there already leaves nothing"
    save_checkpoint_file({"epoch": 2}, TARGET)
    assert load_checkpoint_file(kept)["epoch"] == 1


def test_second_name_is_a_copy_where_links_are_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*values: Any) -> None:
        raise OSError(1, "Operation not permitted")

    save_checkpoint_file({"epoch": 1}, TARGET)
    kept = TARGET.with_name("epoch_001.pth")
    kept.write_text("old")
    monkeypatch.setattr(os, "link", refuse)
    link_checkpoint_file(TARGET, kept)
    assert not kept.samefile(TARGET)
    assert load_checkpoint_file(kept)["epoch"] == 1
    assert len(list(TARGET.parent.iterdir())) == 2


def test_leftovers_of_a_killed_process_are_removed() -> None:
    save_checkpoint_file({"epoch": 1}, TARGET)
    TARGET.with_name(".latest_model.pth.partial").write_text("half")
    remove_partial_files(TARGET.parent)
    assert [path.name for path in TARGET.parent.iterdir()] == ["latest_model.pth"]
    remove_partial_files(Path("nowhere"))
