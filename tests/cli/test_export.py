"""`sightline export` for every task, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.data.splits_file import read_splits
from sightline.export import load_exported
from sightline.runs import RunFolder
from sightline.tasks import TASKS
from sightline.trained import load_trained

pytest.importorskip("onnxruntime", reason="needs the extra export")

TRAINING = ("train.epochs=1", "train.batch_size=32", "data.workers=0", "eval.bootstrap=100")
DETECTOR = ("model.name=resnet10t", "model.pretrained=false", "train.img_size=32")
RECIPES: dict[str, tuple[str, ...]] = {
    "anomaly": ("anomaly/stfpm", *DETECTOR, *TRAINING),
    "reid": (
        *("reid/digits", "model.name=test_resnet", "model.last_stride=null", *TRAINING),
        *("train.img_size=[32,16]", "train.warmup_epochs=0"),
    ),
}
"""How to train what conftest has no run of."""
OUTPUTS = {
    "probabilities": ["logits"],
    "neighbours": ["embeddings"],
    "scores": ["score", "map"],
}


def trained_answers(run: Path, files: list[Path]) -> dict[str, Any]:
    """What the trained model says of files, read as validation reads them."""
    from sightline.data.images import Images
    from sightline.data.manifest import Manifest
    from sightline.experiment import loader_for

    trained = load_trained(RunFolder.open(run), "best_model.pth", device="cpu")
    samples = Manifest.build(
        Path(), id=[str(one) for one in files], path=[str(one) for one in files]
    )
    side = load_exported(run / "export").description["input"]["shorter_side"]
    loader = loader_for(
        Images(samples, side), trained.config, device=trained.device, training=False
    )
    (rows,) = trained.outputs([next(iter(loader))])
    return rows


def check(run: Path, cli: Any, *arguments: str) -> list[str]:
    """Export a run, and compare the file with the run on pictures it was not compared on."""
    done = cli("export", str(run), *arguments)
    assert done.code == 0, done.said
    task = json.loads((run / "run.json").read_text(encoding="utf-8"))["task"]
    lines: list[str] = done.out.splitlines()
    assert lines[-1] == f"model {run / 'export' / 'model.onnx'}"
    exported = load_exported(run / "export")
    names = [one["name"] for one in exported.description["outputs"]]
    assert [line.split(":")[0] for line in lines[: len(names)]] == names
    assert [name for name in names if name != "probabilities"] == OUTPUTS[TASKS[task].answers]
    manifest = read_splits(run / "splits.csv", verify=False)
    files = [manifest.file(row) for row in manifest.rows("fit")[:9]]
    found, wanted = exported.answer(files, batch_size=4), trained_answers(run, files)
    keys = {"score": "scores", "map": "maps"}
    for name in OUTPUTS[TASKS[task].answers]:
        given = np.stack([np.asarray(one) for one in wanted[keys.get(name, name)]])
        np.testing.assert_allclose(found[name], given, rtol=1e-4, atol=1e-5)
    return lines


def test_every_task_is_exported_here() -> None:
    assert set(TASKS) <= {"classify", "retrieve", "compress", *RECIPES}


def test_classifier(trained: Path, cli: Any) -> None:
    lines = check(trained, cli)
    count = len(read_splits(trained / "splits.csv", verify=False).rows("val"))
    assert f"most probable class: {count} of {count} the same" in lines
    assert len(load_exported(trained / "export").class_names) == 3
    refused = cli("export", "latest", "--opset", "7", "--out", "elsewhere")
    assert "operator set 7" in cli.screen(refused, code=1)
    assert not Path("elsewhere").exists()


@pytest.mark.slow
def test_calibrated_probabilities_are_exported(trained: Path, cli: Any) -> None:
    assert cli("evaluate").code == 0
    assert cli("calibrate").code == 0
    # So few samples may teach nothing; a temperature of 3 can be seen.
    plain = cli.json(trained / "calibration.json")
    plain["members"]["best_model.pth"]["temperature"] = 3.0
    (trained / "calibration.json").write_text(json.dumps(plain))
    check(trained, cli)
    pictures = sorted(Path("pictures").glob("*/*.png"))[:6]
    assert cli("predict", "latest", *pictures, "--out", "answers.csv").code == 0
    found = load_exported(trained / "export").answer(pictures)["probabilities"]
    wanted = [float(row["confidence"]) for row in cli.table("answers.csv")]
    np.testing.assert_allclose(found.max(axis=1), wanted, atol=1e-5)


def test_embedder(searched: Path, cli: Any) -> None:
    lines = check(searched, cli)
    assert any(line.startswith("order of the others") for line in lines)
    said = load_exported(searched / "export").description["embedding"]
    assert (said["size"], said["unit_length"]) == (16, True)


def test_one_of_several_folds_is_named(folds_run: Path, cli: Any) -> None:
    screen = cli.screen(cli("export"), code=2)
    assert "--checkpoint best_fold0.pth" in screen
    assert not (folds_run / "export").exists()
    done = cli("export", "latest", "--checkpoint", "best_fold1.pth", "--samples", "5", "--json")
    assert done.code == 0, done.said
    said = json.loads(done.out)
    assert said["run"]["checkpoint"] == "best_fold1.pth"
    assert said["measured"]["split"] == "fit", "the test stays sealed"
    assert said["measured"]["batches"] == [1, 3, 5]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["stfpm", "patchcore"])
def test_detector(method: str, tmp_path: Path, cli: Any) -> None:
    from sightline.data.defect_digits import write_defect_digits

    write_defect_digits(tmp_path / "zeros")
    settings = RECIPES["anomaly"]
    if method == "patchcore":
        settings = ("anomaly/digits", "model.name=resnet10t", *TRAINING[1:], "train.img_size=32")
    done = cli("train", *settings, "data.root=zeros")
    assert done.code == 0, done.said
    run = Path(cli.newest()["path"])
    lines = check(run, cli)
    assert any(line.startswith("order by score: 1 of 1") for line in lines)
    assert load_exported(run / "export").description["thresholds"] is not None


@pytest.mark.slow
@pytest.mark.skipif("reid" not in TASKS, reason="there is no such task")
def test_identities(cli: Any) -> None:
    done = cli("train", *RECIPES["reid"], "data.digits=plates")
    assert done.code == 0, done.said
    run = Path(cli.newest()["path"])
    check(run, cli)
    assert load_exported(run / "export").size == (32, 16)
