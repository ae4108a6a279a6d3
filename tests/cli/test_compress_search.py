"""`sightline compress`: from a table to a codec, its table and page, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml

from sightline.encoding import load_codec
from sightline.runs import RunFolder

Table = npt.NDArray[Any]
QUICK = ("train.epochs=2", "train.warmup_epochs=0", "train.batch_size=200", "eval.bootstrap=100")


def digits(rows: int = 900) -> Table:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().data[:rows], np.float32)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.chdir(tmp_path)
    values = digits()
    np.save("vectors.npy", values)
    return values


def searched() -> RunFolder:
    (found,) = [one.parent for one in Path("experiments/train").glob("*/*/run.json")]
    return RunFolder.open(found)


def test_the_smallest_form_is_found_kept_and_used(table: Table, cli: Any) -> None:
    sizes = ("--bytes", 6, "--bytes", 8, "--bytes", 16)
    done = cli("compress", "vectors.npy", "--keep", "recall@5>=0.6", "--no-learned", *sizes)
    assert done.code == 0, done.said
    run = searched()
    assert run.info["status"] == "finished"
    assert len(run.info["test_reads"]) == 1, "test is read once"
    found = json.loads((run.path / "search.json").read_text())
    (chosen,) = [row for row in found["rows"] if row["chosen"]]
    assert "<- chosen" in done.out
    assert found["says"] in done.out
    assert {row["bytes"] for row in found["rows"]} == {chosen["bytes"]}
    assert any(row["transform"] == "pca" for row in found["rows"])
    met = [one for one in found["tried"] if one["lower"] >= 0.6]
    assert chosen["bytes"] == min(one["bytes"] for one in met)
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "The smallest form" in page
    # The codec, from Python and from the command line.
    codec = load_codec(run.path / "codec")
    wanted = codec.encode(torch.from_numpy(table[:50])).numpy()
    assert wanted.nbytes == 50 * chosen["bytes"]
    np.save("new.npy", table[:50].astype(np.float64))
    for source in ("latest", run.path / "codec"):
        coded = cli("predict", source, "new.npy", "--out", "codes.npy")
        assert coded.code == 0, coded.said
        kept = np.load("codes.npy")
        assert kept.dtype == wanted.dtype
        np.testing.assert_array_equal(kept, wanted)
    assert cli("predict", "latest", "new.npy", "--out", "codes.csv").code == 0
    assert cli.table("codes.csv")[3]["code0"] == str(wanted[3, 0])
    for command in ("evaluate", "export"):
        assert "it is a search, and its codec" in cli.screen(cli(command, "latest"), code=1)
    np.save("narrow.npy", table[:5, :9])
    refused = cli("predict", "latest", "narrow.npy", "--out", "codes.npy")
    assert "64 numbers in each row" in cli.screen(refused, code=1)
    refused = cli("predict", "latest", "new.npy", "--out", "codes.npy", "--checkpoint", "a.pth")
    assert "not for codecs" in cli.screen(refused, code=2)


def test_the_onnx_file_has_the_codes_of_the_codec(table: Table, cli: Any) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    keep = ("--keep", "recall@10>=0.7", "--no-learned", "--bytes", 16, "--out", "mine")
    done = cli("compress", "vectors.npy", *keep, "data.normalize=true")
    assert done.code == 0, done.said
    session = runtime.InferenceSession("mine/model.onnx", providers=["CPUExecutionProvider"])
    (codes,) = session.run(["codes"], {"vectors": table[:70]})
    wanted = load_codec("mine").encode(torch.from_numpy(table[:70])).numpy()
    assert (codes != wanted).mean() < 1e-3
    scaled = load_codec("mine").encode(torch.from_numpy(5 * table[:70])).numpy()
    assert (scaled != wanted).mean() < 1e-2, "by cosine, length means nothing"


def test_a_target_that_nothing_meets_fails_with_everything_saved(table: Table, cli: Any) -> None:
    keep = ("--keep", "recall@5>=0.99", "--no-learned", "--bytes", 4, "--json")
    done = cli("compress", "vectors.npy", *keep)
    assert done.code == 1
    assert "No form that was tried keeps so many" in done.err
    told = json.loads(done.out)
    assert told["met_on_val"] is False
    assert told["verdict"] is None
    assert load_codec(told["codec"]).bytes_per_vector == 4
    assert (Path(told["path"]) / "report.html").is_file()
    assert searched().info["status"] == "finished"


def test_encoders_that_are_trained_are_runs_below_the_search(table: Table, cli: Any) -> None:
    keep = ("--keep", "recall@5>=0.5", "--bytes", 8, "--bytes", 16)
    done = cli("compress", "vectors.npy", *keep, *QUICK)
    assert done.code == 0, done.said
    run = searched()
    inner = [RunFolder.open(one.parent) for one in run.path.glob("encoders/*/*/run.json")]
    assert inner
    assert {one.info["parent"] for one in inner} == {run.id}
    for one in inner:
        told = yaml.safe_load(one.config_file.read_text(encoding="utf-8"))["model"]
        assert told["int8"] == ("int8" in one.info["name"]), "only what is stored so learns steps"
    assert {one.info["status"] for one in inner} == {"finished"}
    found = json.loads((run.path / "search.json").read_text())
    learned = [row for row in found["rows"] if row["transform"] == "learned"]
    assert len(learned) == len(inner)
    assert all(row["against"]["form"] for row in learned)
    assert "[EPOCH" not in done.out, "their lines are in their own logs"


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("recall@10>95", "recall@10>=0.95"),
        ("recall@10>=95%", 'write "recall@10>=0.95"'),
        ("", "cannot be read"),
    ],
)
def test_a_target_that_cannot_be_read_is_refused(
    keep: str, words: str, table: Table, cli: Any
) -> None:
    refused = cli("compress", "vectors.npy", "--keep", keep)
    assert words in cli.screen(refused, code=2)
    assert not Path("experiments").exists()


def test_bad_vectors_and_places_are_refused_before_the_work(table: Table, cli: Any) -> None:
    keep = ("--keep", "recall@10>=0.9", "--no-learned")
    assert "not there" in cli.screen(cli("compress", "none.npy", *keep), code=2)
    table[[3, 8], 1] = np.nan
    np.save("bad.npy", table)
    assert "3, 8" in cli.screen(cli("compress", "bad.npy", *keep), code=1)
    np.save("few.npy", digits(30))
    said = cli.screen(cli("compress", "few.npy", *keep, "eval.pool=held-out"), code=1)
    assert "Recall@10 needs more rows" in said
    np.save("same.npy", np.repeat(digits(1), 300, axis=0))
    assert "no row to judge by" in cli.screen(cli("compress", "same.npy", *keep), code=1)
    Path("mine").mkdir()
    Path("mine/photo.jpg").write_bytes(b"x")
    refused = cli("compress", "vectors.npy", *keep, "--out", "mine")
    assert "taken by something else" in cli.screen(refused, code=1)
    assert not Path("experiments").exists()
    assert sorted(one.name for one in Path("mine").iterdir()) == ["photo.jpg"]
