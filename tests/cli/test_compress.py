"""Compression from the command line: a table to a run, to shorter vectors, to ONNX, and errors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import yaml

from sightline.errors import DataError
from sightline.runs import RunFolder
from sightline.trained import load_trained

Table = npt.NDArray[Any]
SHORT = ("train.epochs=2", "train.warmup_epochs=0", "train.batch_size=100", "eval.bootstrap=100")
TRAINING = ("compress/digits", *SHORT, "data.vectors=vectors.npy")
ROWS = 600
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
RECIPES = ("digits", "neighbours", "pca", "v1", "v1norm", "v2", "v2norm")


def digits(rows: int = ROWS) -> Table:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits().data[:rows], np.float32)


def run_of(cli: Any, *settings: object, code: int = 0) -> tuple[Any, Path]:
    """Train on the table in the working directory; what was said, and the newest run's folder."""
    if not Path("vectors.npy").exists():
        np.save("vectors.npy", digits())
    done = cli("train", *TRAINING, *settings)
    assert done.code == code, done.said
    return done, Path(cli.newest()["path"])


def refused(cli: Any, *command: object, words: Sequence[str], code: int = 1) -> str:
    screen: str = cli.screen(cli(*command), code=code)
    flat = " ".join(screen.split())
    assert [word for word in words if word not in flat] == [], screen
    return screen


@pytest.fixture
def shorter(
    cli: Any, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:  # fmt: skip
    """The folder of a finished run, below a copy of its working directory, which is entered."""
    source, target = tmp_path_factory.getbasetemp() / "compressed", tmp_path / "work"
    if not source.exists():
        source.mkdir()
        monkeypatch.chdir(source)
        run_of(cli, "--test")
    shutil.copytree(source, target, symlinks=True)
    monkeypatch.chdir(target)
    run = Path(cli.newest()["path"])
    for name in ("config.yaml", "run.json"):
        text = (run / name).read_text(encoding="utf-8")
        (run / name).write_text(text.replace(str(source), str(target)), encoding="utf-8")
    return run


def model_answers(run: Path, vectors: Table) -> Table:
    trained = load_trained(RunFolder.open(run), "best_model.pth", device="cpu")
    trained.model.eval()
    with torch.no_grad():
        return np.asarray(trained.model(torch.from_numpy(vectors)).numpy())


def weights(run: Path) -> dict[str, torch.Tensor]:
    loaded = torch.load(run / "ckpt" / "latest_model.pth", weights_only=True)
    found: dict[str, torch.Tensor] = loaded["model"]
    return found


# What a run leaves.


def test_training_leaves_scores_beside_pca_a_history_and_a_page(shorter: Path, cli: Any) -> None:
    for split in ("val", "test"):
        scores = cli.json(shorter / "predictions" / f"{split}.metrics.json")
        assert scores["task"] == "compress"
        assert scores["headline"]["recall_at_10"]["value"] > 0.6
        (beside,) = scores["baselines"]
        assert (beside["name"], beside["numbers"], beside["bytes"]) == ("pca", 16, 64)
        assert scores["sizes"]["bytes"] == 4 * 64
        rows = cli.table(shorter / "predictions" / f"{split}.csv")
        assert len(rows) == scores["n"] == scores["pool"]["held_out"] == 90
        mean = np.mean([float(row["pca_recall_at_10"]) for row in rows])
        assert mean == pytest.approx(beside["scores"]["recall_at_10"]["value"], abs=1e-5)
    assert cli.json(shorter / "predictions" / "val.metrics.json")["pool"]["rows"] == 510
    assert cli.json(shorter / "predictions" / "test.metrics.json")["pool"]["rows"] == 600
    history = cli.json(shorter / "train_history.json")
    assert history["epochs"] == [1, 2]
    keys = ("total_loss", "rank_loss", "pairdist_loss", "recall_at_10", "epoch_times")
    assert [len(history[key]) for key in keys] == [2] * 5
    assert history["total_loss"] == history["rank_loss"], "no pair term is asked for"
    names = {one.name for one in (shorter / "ckpt").iterdir()}
    assert {"best_model.pth", "latest_model.pth", "epoch_002.pth"} <= names
    page = (shorter / "report.html").read_text(encoding="utf-8")
    assert "recall_at_10" in page or "Recall@10" in page


def test_evaluating_again_gives_the_same_and_says_what_pool_it_is(shorter: Path, cli: Any) -> None:
    file = shorter / "predictions" / "val.csv"
    before = file.read_bytes()
    file.unlink()
    done = cli("evaluate", "latest", "--split", "val")
    assert done.code == 0, done.said
    assert file.read_bytes() == before
    assert "pool: 510 rows, 420 of them not held out" in done.out
    assert "pca with as many numbers: recall_at_10" in done.out


def test_the_history_of_a_killed_run_is_there(cli: Any) -> None:
    np.save("vectors.npy", digits())
    command = [sys.executable, "-m", "sightline", "train", *TRAINING, "train.epochs=3000"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list(Path("experiments").glob("train/*/*/train_history.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait(timeout=60)
    history = cli.json(Path(cli.newest()["path"]) / "train_history.json")
    assert history["epochs"][0] == 1
    assert len(history["total_loss"]) == len(history["epochs"]) < 3000


@pytest.mark.parametrize("where", ["compute_metrics", "training_step"])
@pytest.mark.parametrize("model", ["linear", "residual"])
def test_a_run_that_was_interrupted_ends_with_the_same_weights(
    where: str, model: str, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sightline.tasks.compress_trainer import CompressTrainer

    settings = ("train.epochs=4", "output.save_every_steps=1", f"model.name={model}")
    _, whole = run_of(cli, *settings)
    calls, real = [0], getattr(CompressTrainer, where)

    def pressed(self: Any, *arguments: Any) -> Any:
        calls[0] += 1
        # Four batches an epoch: in the third epoch, or at its end.
        if calls[0] == (3 if where == "compute_metrics" else 10):
            raise KeyboardInterrupt
        return real(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(CompressTrainer, where, pressed)
        run_of(cli, *settings, "output.exp_dir=cut", code=130)
    cut = Path(cli.newest("cut")["path"])
    assert cli.newest("cut")["status"] == "stopped"
    done = cli("train", "--resume", "output.exp_dir=cut")
    assert done.code == 0, done.said
    first, second = weights(whole), weights(cut)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    told = [
        [row["recall_at_10"] for row in cli.rows(one) if row["event"] == "epoch"]
        for one in (whole, cut)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 4


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_trains(recipe: str, cli: Any) -> None:
    settings = ["data.digits=digits", "model.latent_dim=16", "eval.bootstrap=100", "eval.pool=400"]
    if recipe != "pca":
        settings += ["train.epochs=1", "train.warmup_epochs=0"]
    done = cli("train", f"compress/{recipe}", *settings)
    assert done.code == 0, done.said
    scores = cli.json(Path(cli.newest()["path"]) / "predictions" / "val.metrics.json")
    found, beside = scores["headline"], scores["baselines"][0]["scores"]
    assert 0.2 < found["recall_at_10"]["value"] <= 1
    if recipe == "pca":
        # The encoder scales by the spread and back, so a tie may fall otherwise.
        assert found["recall_at_10"]["value"] == pytest.approx(
            beside["recall_at_10"]["value"], abs=2e-3
        )


def test_every_recipe_is_tested_here(cli: Any) -> None:
    listed = [line.split()[0] for line in cli("recipes").out.splitlines()]
    assert [one for one in listed if one.startswith("compress/")] == [
        f"compress/{name}" for name in RECIPES
    ]


def test_no_epochs_give_the_pca_of_scikit_learn(cli: Any) -> None:
    from sklearn.decomposition import PCA

    _, run = run_of(cli, "train.epochs=0")
    splits = cli.table(run / "splits.csv")
    fit = [int(row["id"]) for row in splits if row["split"] == "fit"]
    values = digits().astype(np.float64)
    wanted = PCA(16, svd_solver="full").fit(values[fit]).transform(values)
    assert cli("predict", "latest", "vectors.npy", "--out", "found.npy").code == 0
    found = np.load("found.npy")
    signs = np.sign((found * wanted).sum(axis=0))
    np.testing.assert_allclose(found * signs, wanted, atol=2e-3)


# Shorter vectors.


def test_predict_writes_what_the_model_says(shorter: Path, cli: Any) -> None:
    new = digits(700)[ROWS:]
    np.save("new.npy", new)
    np.savez("new.npz", embedding=new[:3])
    wanted = model_answers(shorter, new)
    done = cli("predict", "latest", "new.npy", "new.npz", "--out", "out.npy")
    assert done.code == 0, done.said
    assert "103 vectors of 16 float32 numbers in out.npy" in done.out
    found = np.load("out.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate([wanted, wanted[:3]]), rtol=1e-5, atol=1e-5)
    assert cli("predict", "latest", "new.npy", "--out", "out.csv").code == 0
    rows = cli.table("out.csv")
    assert list(rows[0]) == [f"z{number}" for number in range(16)]
    np.testing.assert_allclose(
        [[float(one) for one in row.values()] for row in rows], wanted, rtol=1e-5, atol=1e-5
    )


def test_predict_refuses_what_it_cannot_encode_and_keeps_what_was_there(
    shorter: Path, cli: Any
) -> None:
    values = digits(10)
    np.save("narrow.npy", values[:, :63])
    values[[2, 5], 1] = np.nan
    np.save("bad.npy", values)
    np.save("out.npy", digits(1))
    kept = Path("out.npy").read_bytes()
    predict = ("predict", "latest")
    for name, words in (
        ("narrow.npy", ["64 numbers in each row", "63", "narrow.npy"]),
        ("bad.npy", ["2 of 10 rows", "rows 2, 5", "bad.npy"]),
        ("nothing.npy", ["no such file", "nothing.npy"]),
        ("vectors.txt", [".parquet", "vectors.txt"]),
    ):
        refused(cli, *predict, name, "--out", "out.npy", words=words)
        assert Path("out.npy").read_bytes() == kept
    assert {one.name for one in Path().glob("out*")} == {"out.npy"}
    for out in ("out.parquet", "out"):
        words = [".npy or .csv", out]
        refused(cli, *predict, "vectors.npy", "--out", out, words=words, code=2)
    own = ("vectors.npy", "--out", "vectors.npy")
    refused(cli, *predict, *own, words=["replace the file"], code=2)


@pytest.mark.parametrize(
    "settings", [(), ("model.int8=true", "model.name=residual"), ("data.normalize=true",)]
)
def test_an_exported_encoder_answers_as_the_model(settings: tuple[str, ...], cli: Any) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    from sightline.export import load_exported

    _, run = run_of(cli, *settings)
    done = cli("export", "latest")
    assert done.code == 0, done.said
    new = digits(700)[ROWS:]
    np.save("new.npy", new)
    assert cli("predict", "latest", "new.npy", "--out", "new_short.npy").code == 0
    wanted = np.load("new_short.npy")
    exported = load_exported(run / "export")
    assert exported.takes_vectors
    found = exported.answer(new, batch_size=7)["embeddings"]
    # A number at the edge of two int8 levels may fall to the other one.
    if "model.int8=true" in settings:
        assert np.isclose(found, wanted, rtol=1e-4, atol=1e-4).mean() > 0.995
    else:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    given = new
    if "data.normalize=true" in settings:
        given = new / np.linalg.norm(new, axis=1, keepdims=True)
    session = runtime.InferenceSession(
        str(run / "export" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    (plain,) = session.run(["embeddings"], {"vectors": given.astype(np.float32)})
    np.testing.assert_allclose(plain, found, rtol=1e-4, atol=1e-3)
    described = json.loads((run / "export" / "model.json").read_text(encoding="utf-8"))
    assert described["input"]["shape"] == ["batch", 64]
    assert described["input"]["unit_length"] is ("data.normalize=true" in settings)


def test_an_exported_encoder_refuses_what_are_no_vectors_of_its_size(
    shorter: Path, cli: Any
) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    from sightline.export import load_exported

    assert cli("export", "latest").code == 0
    exported = load_exported(shorter / "export")
    bad = digits(40)
    bad[35, 3] = np.inf
    wrong: list[tuple[Any, str]] = [
        (digits(4)[:, :63], r"\(N, 64\) float32"),
        (digits(4)[0], r"\(N, 64\) float32"),
        (["a.png"], r"\(N, 64\) float32"),
        (bad, "row 35"),
        (digits(0), "no vectors to answer for"),
    ]
    for given, words in wrong:
        with pytest.raises(DataError, match=words):
            exported.answer(given)
    whole = digits(4).astype(np.int64)
    np.testing.assert_array_equal(
        exported.answer(whole)["embeddings"], exported.answer(digits(4))["embeddings"]
    )


# Bad input: one screen each.


@pytest.mark.parametrize(
    ("settings", "words", "code"),
    [
        (("model.latent_dim=65",), ["at most 64", "model.latent_dim=65", "vectors.npy"], 2),
        (("model.input_dim=63",), ["63 numbers", "64 numbers", "vectors.npy"], 2),
        (("loss.function=DPLossV1",), ["lambda_pairdist", "has no gradient", "DPLossV2"], 2),
        (
            ("loss.function=DPLossV1", "loss.lambda_pairdist=0.3", "loss.tau=2"),
            ["tau is used only with DPLossNeighbours", "DPLossV1"],
            2,
        ),
        (("loss.k=99",), ["loss.k is 99", "lower loss.k to 98"], 2),
        (("train.monitor=recall_at_3",), ["recall_at_3", "recall_at_5, recall_at_10"], 2),
        (("train.monitor=macro_f1",), ["macro_f1", "recall_at_10"], 2),
        (("data.root=photos",), ["data.root: unknown key", "vectors"], 2),
        (("train.img_size=32",), ["train.img_size: unknown key"], 2),
        (("data.vectors=none.npy",), ["no such file", "none.npy"], 1),
        (("data.vectors=vectors.txt",), [".txt", ".parquet"], 1),
        (("data.column=embedding",), ["no columns", "vectors.npy"], 1),
        (("data.digits=digits",), ["vectors, digits"], 2),
        (("eval.pool=10",), ["Recall@10", "eval.pool=10"], 1),
        (("eval.recall_k=[5,10,400]", "eval.pool=200"), ["Recall@400", "eval.pool"], 1),
        (("--use-calibration",), ["probabilities", "compress"], 2),
        (("--mode", "highperf"), ["probabilities", "compress"], 2),
        (("--mode", "full-pipeline"), ["pictures", "compress"], 2),
        (("--optimize",), ["probabilities", "compress"], 2),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: tuple[str, ...], words: list[str], code: int, cli: Any
) -> None:
    np.save("vectors.npy", digits())
    Path("vectors.txt").write_text("1 2 3\n", encoding="utf-8")
    refused(cli, "train", *TRAINING, *settings, words=words, code=code)
    assert cli.newest() == {}, "no run is made"


def test_a_table_without_a_name_is_refused(cli: Any) -> None:
    command = ("train", "compress/neighbours")
    refused(cli, *command, words=["data.vectors=FILE", "demo compress"], code=2)


def test_bad_rows_are_refused_or_left_out_and_counted(cli: Any) -> None:
    values = digits()
    values[3, 7], values[100, 7] = np.nan, np.inf
    np.save("vectors.npy", values)
    words = ["2 of 600", "rows 3, 100", "vectors.npy", "data.on_bad_row=skip"]
    refused(cli, "train", *TRAINING, words=words)
    done, run = run_of(cli, "data.on_bad_row=skip")
    assert "left out 2 rows with NaN or infinity: 3, 100" in done.said
    assert len(cli.table(run / "splits.csv")) == 598


def test_copies_are_said_and_kept_together(cli: Any) -> None:
    np.save("vectors.npy", np.concatenate([digits(300)] * 2))
    done, run = run_of(cli)
    assert "300 rows repeat an earlier row exactly; they are kept in one split" in done.said
    by_group: dict[str, set[str]] = {}
    for row in cli.table(run / "splits.csv"):
        by_group.setdefault(row["group"], set()).add(row["split"])
    assert len(by_group) == 300
    assert all(len(splits) == 1 for splits in by_group.values())
    scores = cli.json(run / "predictions" / "val.metrics.json")
    assert scores["headline"]["recall_at_10"]["unit"] == "group"


def test_rows_that_are_too_long_or_all_the_same_are_refused(cli: Any) -> None:
    values = digits()
    values[[3, 100]] *= 1e20
    np.save("vectors.npy", values)
    words = ["2 of 600 vectors are too long", "rows 3, 100", "scale the vectors down"]
    refused(cli, "train", *TRAINING, words=words)
    np.save("vectors.npy", np.repeat(digits(1), 300, axis=0))
    refused(cli, "train", *TRAINING, words=["no row to judge by in val", "group_duplicates=false"])
    assert not Path("experiments").exists()


def test_tables_that_hold_no_table_are_refused(cli: Any) -> None:
    np.save("vectors.npy", digits(15))
    refused(cli, "train", *TRAINING, words=["20 rows or more", "15 usable rows", "vectors.npy"])
    lines = [json.dumps({"embedding": [1.0] * size}) for size in (3, 3, 2)]
    Path("ragged.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["3 numbers", "2 numbers", "ragged.jsonl, line 3"]
    refused(cli, "train", *TRAINING, "data.vectors=ragged.jsonl", words=words)


def test_a_parquet_table_without_the_column_is_refused(cli: Any) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra for Parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"text": ["a"] * 40, "embedding": digits(40).tolist()})
    parquet.write_table(table, "vectors.parquet")
    settings = ("data.vectors=vectors.parquet", "data.column=vector")
    refused(cli, "train", *TRAINING, *settings, words=["vector", "embedding", "vectors.parquet"])
    few = ("eval.recall_k=[5]", "train.monitor=recall_at_5")
    done, run = run_of(cli, "data.vectors=vectors.parquet", *few)
    assert done.code == 0
    assert len(cli.table(run / "splits.csv")) == 40


def test_a_table_that_changed_is_not_judged(shorter: Path, cli: Any) -> None:
    values = digits()
    values[0] += 1
    np.save("vectors.npy", values)
    words = ["not the one that the splits were made for", "data.verify_files=false", "vectors.npy"]
    refused(cli, "evaluate", "latest", words=words)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("check", "compress/digits", "data.vectors=vectors.npy"), ["pictures", "compress"]),
        (("split", "compress/digits", "data.vectors=vectors.npy", "--out", "splits"),
         ["pictures", "compress"]),
        (("index", "latest"), ["neighbours", "compress"]),
        (("calibrate", "latest"), ["probabilities", "compress"]),
        (("threshold", "latest"), ["compress"]),
        (("ensemble", "latest", "NEWEST"), ["compress"]),
        (("evaluate", "latest", "--use-calibration"), ["probabilities", "compress"]),
        (("evaluate", "latest", "--tta", "flip"), ["probabilities", "compress"]),
        (("predict", "latest", "--sample", "s.csv", "--images", ".", "--out", "o.csv"),
         ["probabilities", "compress"]),
        (("predict", "latest", "vectors.npy", "--out", "o.npy", "--use-calibration"),
         ["--use-calibration", "compress"]),
        (("predict", "latest", "vectors.npy", "--out", "o.npy", "--tta", "flip"),
         ["--tta", "compress"]),
        (("predict", "latest", "vectors.npy", "--out", "o.npy", "--heat-maps", "seen"),
         ["--heat-maps", "compress"]),
        (("predict", "latest", "vectors.npy", "--out", "o.npy", "--index", "seen"),
         ["--index", "compress"]),
    ],
)  # fmt: skip
def test_what_other_tasks_can_do_is_refused(
    shorter: Path, cli: Any, command: tuple[str, ...], words: list[str]
) -> None:
    if "NEWEST" in command:
        run_of(cli, "project.seed=43")
        command = ("ensemble", shorter.name, Path(cli.newest()["path"]).name)
    Path("s.csv").write_text("id,label\na.png,0\n", encoding="utf-8")
    refused(cli, *command, words=words, code=2)
    assert not Path("o.npy").exists()


# The environment variable of earlier systems.


def kept_epochs(run: Path) -> list[str]:
    return sorted(one.name for one in (run / "ckpt").glob("epoch_*.pth"))


def test_save_interval_of_the_environment(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save("vectors.npy", digits())
    text = "recipe: compress/digits\noutput: {save_interval: 1}\ndata: {vectors: vectors.npy}\n"
    Path("mine.yaml").write_text(text, encoding="utf-8")
    command = ("train", "mine.yaml", *SHORT, "train.epochs=5")
    monkeypatch.setenv("SAVE_INTERVAL", "3")
    done = cli(*command)
    assert done.code == 0, done.said
    assert "output.save_interval=3, as the environment variable SAVE_INTERVAL says" in done.out
    run = Path(cli.newest()["path"])
    assert kept_epochs(run) == ["epoch_003.pth", "epoch_005.pth"], "it beats the file"
    # A run that goes on keeps what it was begun with.
    monkeypatch.setenv("SAVE_INTERVAL", "1")
    more = ("train.epochs=8", "--resume-anyway", "train.epochs")
    done = cli("train", "--resume", run.name, *more)
    assert done.code == 0, done.said
    assert "SAVE_INTERVAL" not in done.said
    assert "epoch_007.pth" not in kept_epochs(run)
    done = cli(*command, "output.save_interval=2")
    assert done.code == 0, done.said
    assert "SAVE_INTERVAL" not in done.said
    kept = kept_epochs(Path(cli.newest()["path"]))
    assert kept == ["epoch_002.pth", "epoch_004.pth", "epoch_005.pth"], "the command line beats it"


@pytest.mark.parametrize("value", ["often", "2.5", "-1"])
def test_a_save_interval_that_is_no_number_is_refused(
    value: str, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("vectors.npy", digits())
    monkeypatch.setenv("SAVE_INTERVAL", value)
    refused(cli, "train", *TRAINING, words=["SAVE_INTERVAL", value, "whole number"], code=2)
    assert cli.newest() == {}


# The scripts of earlier systems.


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_old_options_train_and_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAVE_INTERVAL", "9")
    options = ("--loss-function", "DPLossV2Norm", "--tau", 0.5, "--epochs", 3, "--lr", 0.002)
    more = ("--save-interval", 2, "--latent-dim", 8, "--lambda-pairdist", 0.1, "--batch-size", 128)
    done = script("train.py", *options, *more, "model.hidden_dims=[32]")
    assert done.returncode == 0, done.stderr
    (run,) = (one.parent for one in Path("experiments").rglob("run.json"))
    told = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert (told["loss"]["function"], told["loss"]["tau"]) == ("DPLossV2Norm", 0.5)
    assert (told["loss"]["lambda_rank"], told["loss"]["lambda_pairdist"]) == (1.0, 0.1)
    assert (told["train"]["epochs"], told["train"]["lr"]) == (3, 0.002)
    assert (told["train"]["batch_size"], told["model"]["latent_dim"]) == (128, 8)
    assert told["model"]["hidden_dims"] == [32]
    assert told["output"]["save_interval"] == 2, "the command line beats the environment"
    kept = sorted(one.name for one in (run / "ckpt").glob("epoch_*.pth"))
    assert kept == ["epoch_002.pth", "epoch_003.pth"]
    tested = script("test.py", "latest", "--split", "test")
    assert tested.returncode == 0, tested.stderr
    assert "pca with as many numbers" in tested.stdout
    refused = script("train.py", "--loss-function", "DPLossV1", "--tau", 0.5)
    assert refused.returncode == 2
    assert "tau is used only with" in refused.stderr


def test_the_script_trains_without_an_option() -> None:
    told = script("train.py", "--help")
    assert told.returncode == 0
    for option in ("--loss-function", "--tau", "--epochs", "--batch-size", "--save-interval",
                   "--lr", "--latent-dim", "--lambda-rank", "--lambda-pairdist"):  # fmt: skip
        assert option in told.stdout


@pytest.mark.slow
def test_the_script_runs_with_no_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = script("train.py")
    assert done.returncode == 0, done.stderr
    assert "[EPOCH 100] of 100" in done.stdout + done.stderr
