"""Exporting a run: the same answers from the file, and no file where they differ."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sightline.export
from sightline.data.splits_file import read_splits
from sightline.errors import DataError, RunError, UsageError
from sightline.export import ExportSettings, export_run, load_exported
from sightline.runs import RunFolder

onnx = pytest.importorskip("onnx", reason="needs the extra export")


@pytest.fixture(scope="module")
def run(train_tiny: Callable[..., Path], digit_folder: Path) -> RunFolder:
    return RunFolder.open(train_tiny(f"data.root={digit_folder}", "project.name=exported"))


@pytest.fixture(scope="module")
def folder(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export of the run."""
    out = tmp_path_factory.mktemp("exported")
    export_run(run, out=out, say=print)
    return out


def samples_of(run: RunFolder, split: str) -> list[Path]:
    manifest = read_splits(run.path / "splits.csv", verify=False)
    return [manifest.file(row) for row in manifest.rows(split)]


def test_a_stranger_answers_from_files_as_the_run_does(run: RunFolder, folder: Path) -> None:
    from sightline.prediction import predict_files

    files = samples_of(run, "test")
    _, rows = predict_files(run, files, say=print)
    exported = load_exported(folder)
    logits = exported.answer(files, batch_size=5)["logits"].astype(np.float64)
    found = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = np.array([row[-3:] for row in rows], np.float64)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    answers = [exported.class_names[code] for code in logits.argmax(axis=1)]
    assert answers == [row[1] for row in rows]


def test_model_json_says_what_a_stranger_needs(run: RunFolder, folder: Path) -> None:
    said = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    content = (folder / "model.onnx").read_bytes()
    assert said["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    checkpoint = (run.ckpt / "best_model.pth").read_bytes()
    assert said["run"]["sha256"] == hashlib.sha256(checkpoint).hexdigest()
    assert said["run"]["id"] == run.id
    assert said["class_names"] == ["0_zero", "1_one", "7_seven"]
    assert said["input"]["shape"] == ["batch", 3, 32, 32]
    assert (said["input"]["fit"], said["input"]["shorter_side"]) == ("crop", 37)
    assert [one["shape"] for one in said["outputs"]] == [["batch", 3]]
    measured = said["measured"]
    count = min(32, len(samples_of(run, "val")))
    assert (measured["split"], measured["samples"]) == ("val", count)
    assert measured["batches"] == [1, 3, count]
    (one,) = measured["differences"]
    assert 0 <= one["relative"] < 1e-5
    assert measured["decision"]["same"] == count
    inside = {one.key: one.value for one in onnx.load_model_from_string(content).metadata_props}
    assert json.loads(inside["sightline"])["input"] == said["input"]
    assert inside["checkpoint_sha256"] == said["run"]["sha256"]


def test_arrays_are_answered_for_too(folder: Path) -> None:
    exported = load_exported(folder / "model.onnx")
    square = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    wide = np.pad(square, ((0, 0), (10, 10), (0, 0)))
    found = exported.answer([square, wide])["logits"]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_array_equal(exported.prepare(square), square.transpose(2, 0, 1))
    for wrong in (square[:, :, :1], square.astype(np.float32)):
        with pytest.raises(DataError, match="no picture"):
            exported.answer([wrong])
    with pytest.raises(DataError, match="no pictures"):
        exported.answer([])
    with pytest.raises(DataError, match="cannot be decoded"):
        exported.answer([folder / "model.json"])


def test_what_is_no_export_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(RunError, match="no exported model"):
        load_exported(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(RunError, match="cannot open"):
        load_exported(tmp_path)
    proto = onnx.load_model(folder / "model.onnx")
    del proto.metadata_props[:]
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(RunError, match="does not say how"):
        load_exported(tmp_path)


@pytest.fixture
def spoiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the exporter write a file in which one weight is another."""
    proto = onnx.load_model(folder / "model.onnx")
    (bias,) = [one for one in proto.graph.initializer if list(one.dims) == [3]]
    values = onnx.numpy_helper.to_array(bias).copy()
    values[1] += 0.01
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    content = proto.SerializeToString()
    monkeypatch.setattr(sightline.export, "onnx_bytes", lambda *_, **__: content)


@pytest.mark.usefixtures("spoiled")
def test_a_file_that_differs_is_not_written(run: RunFolder, folder: Path, tmp_path: Path) -> None:
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    for out in (tmp_path / "new", folder):
        with pytest.raises(RunError, match=r"logits differs by 0\.01") as caught:
            export_run(run, out=out, say=print)
        assert "in batches of" in str(caught.value)
    assert not (tmp_path / "new").exists(), "nothing is left behind"
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before


@pytest.mark.usefixtures("spoiled")
def test_tolerance_and_number_of_pictures_are_settings(run: RunFolder, tmp_path: Path) -> None:
    settings = ExportSettings(samples=4, tolerance=0.5)
    done = export_run(run, out=tmp_path / "rough.onnx", settings=settings, say=print)
    assert done.file == tmp_path / "rough.onnx"
    assert (tmp_path / "rough.json").is_file()
    assert (done.parity.samples, done.parity.batches) == (4, (1, 3, 4))
    assert done.parity.differences[0].absolute == pytest.approx(0.01, rel=1e-3)


def test_a_kill_while_writing_leaves_the_old_file(folder: Path) -> None:
    before = (folder / "model.onnx").read_bytes()
    code = (
        "import os, pathlib, signal, sys\n"
        "from sightline.runs import write_atomically\n"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(sys.argv[1], b'half')\n"
    )
    target = str(folder / "model.onnx")
    done = subprocess.run([sys.executable, "-c", code, target], check=False, timeout=60)
    assert done.returncode == -9
    assert (folder / "model.onnx").read_bytes() == before
    assert load_exported(folder).class_names


@pytest.mark.usefixtures("spoiled")
def test_a_place_that_cannot_be_written_is_said(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="cannot be written") as caught:
        export_run(run, out=tmp_path / "file" / "m.onnx", settings=ExportSettings(tolerance=0.5))
    assert "--out FOLDER" in str(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "a.json"])
def test_another_ending_is_refused(name: str, run: RunFolder) -> None:
    with pytest.raises(UsageError, match="cannot have this name"):
        export_run(run, out=Path(name), say=print)
