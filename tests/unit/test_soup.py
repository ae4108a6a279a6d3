"""Greedy soups: what is averaged, when a soup is worth keeping, and what cannot be averaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.errors import CheckpointError, RunError
from sightline.evaluation import evaluate_run
from sightline.runs import RunFolder
from sightline.soup import make_soup, mean_weights
from sightline.trained import load_trained
from sightline.training.checkpoint import load_checkpoint_file, save_checkpoint_file

Train = Callable[..., Path]


@pytest.fixture
def run(train_tiny: Train, digit_folder: Path) -> RunFolder:
    folder = train_tiny(f"data.root={digit_folder}", "train.epochs=3", "train.lr=0.01")
    copy = folder.with_name(f"{folder.name[:-6]}50u9")
    shutil.rmtree(copy, ignore_errors=True)
    return RunFolder.open(shutil.copytree(folder, copy))


def stir(run: RunFolder, **options: Any) -> tuple[RunFolder | None, list[str]]:
    said: list[str] = []
    made = make_soup(
        [run], exp_dir=Path("runs"), command=["sightline", "soup"], say=said.append, **options
    )
    return made, said


def write(run: RunFolder, name: str, *, epoch: int, change: Callable[[Any], Any]) -> None:
    """A checkpoint with the best one's weights, changed."""
    state = load_checkpoint_file(run.ckpt / "best_model.pth")
    weights = {key: change(value) for key, value in state["model"].items()}
    save_checkpoint_file({**state, "epoch": epoch, "model": weights}, run.ckpt / name)


def spoil(sign: float) -> Callable[[Any], Any]:
    """Adds the same noise times the sign to every parameter: two of them cancel."""
    random = torch.Generator().manual_seed(5)

    def change(value: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(value.shape, generator=random) if value.is_floating_point() else value
        return value + sign * 2.0 * value.std() * noise if value.dim() > 1 else value

    return change


def no_features(value: torch.Tensor) -> torch.Tensor:
    """Makes every convolution and the head answer nothing, which no mean recovers from."""
    return value * -1e3 if value.dim() > 1 and value.is_floating_point() else value


def test_mean_weights_by_hand() -> None:
    mean = {"w": torch.tensor([1.0, 3.0]), "count": torch.tensor(7)}
    added = {"w": torch.tensor([4.0, 0.0]), "count": torch.tensor(9)}
    mixed = mean_weights(mean, added, share=1 / 3)
    assert mixed["w"].tolist() == pytest.approx([2.0, 2.0])
    assert mixed["w"].dtype == torch.float32
    assert mixed["count"].item() == 7


def test_soup_that_wins_becomes_a_run(run: RunFolder) -> None:
    good = load_checkpoint_file(run.ckpt / "best_model.pth")["model"]
    for file in run.ckpt.glob("epoch_*.pth"):
        file.unlink()
    write(run, "epoch_010.pth", epoch=10, change=no_features)
    write(run, "epoch_009.pth", epoch=9, change=spoil(-1.0))
    write(run, "best_model.pth", epoch=8, change=spoil(1.0))
    made, said = stir(run, name="broth")
    assert made is not None, said
    assert made.id.startswith("broth_")
    assert (made.info["kind"], made.info["status"]) == ("soup", "finished")
    assert made.info["parent"] == run.id
    first, second, last = made.info["ingredients"]
    assert (last["checkpoint"], last["kept"]) == ("epoch_010.pth", False)
    assert last["soup"] < second["soup"]
    assert {first["checkpoint"], second["checkpoint"]} == {"best_model.pth", "epoch_009.pth"}
    assert second["kept"]
    assert second["soup"] == made.info["best"]["value"] > first["alone"] >= second["alone"]
    weights = load_trained(made, "best_model.pth", device="cpu").model.state_dict()
    for key, value in good.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-4, atol=1e-5)
    scores = evaluate_run(made, "val", command=[]).as_dict()
    assert scores["headline"]["macro_f1"]["value"] == pytest.approx(made.info["best"]["value"])
    assert RunFolder.open(run.path).info["test_reads"] == []


def test_soup_that_does_not_win_is_not_made(run: RunFolder) -> None:
    write(run, "epoch_009.pth", epoch=9, change=lambda value: value)
    made, said = stir(run)
    assert made is None
    assert said[-1].startswith("no soup was made: nothing beats ")
    assert not list(Path().glob("runs/*/soup_*"))


def test_ingredient_that_lowers_the_metric_is_left_out(run: RunFolder) -> None:
    for file in run.ckpt.glob("epoch_*.pth"):
        file.unlink()
    write(run, "epoch_009.pth", epoch=9, change=spoil(60.0))
    made, said = stir(run)
    assert made is None
    assert any("epoch_009.pth: left out" in line for line in said)


def test_running_average_is_what_is_averaged(run: RunFolder) -> None:
    for file in run.ckpt.glob("epoch_*.pth"):
        file.unlink()
    state = load_checkpoint_file(run.ckpt / "best_model.pth")
    broken = {key: value * 0 for key, value in state["model"].items()}
    latest = {**state, "epoch": 9, "model": broken, "average": state["model"]}
    save_checkpoint_file(latest, run.ckpt / "epoch_009.pth")
    _, said = stir(run)
    best = said[0].split()[1]
    assert f"macro_f1 {best} with {run.id}/epoch_009.pth: kept" in said


def test_what_cannot_be_averaged(run: RunFolder, train_tiny: Train, digit_folder: Path) -> None:
    folds = train_tiny(f"data.root={digit_folder}", "data.folds=2", "data.valid_fold=all")
    with pytest.raises(RunError, match="no validation samples in common"):
        stir(RunFolder.open(folds))
    for file in run.ckpt.glob("epoch_*.pth"):
        file.unlink()
    with pytest.raises(RunError, match="one checkpoint only"):
        stir(run)
    other = RunFolder.open(shutil.copytree(run.path, run.path.with_name(f"{run.path.name}2")))
    config = other.config_file.read_text()

    def pair() -> Any:
        return make_soup([run, other], exp_dir=Path("runs"), command=[], say=lambda text: None)

    try:
        for old, new, message in (
            ("name: test_resnet", "name: resnet10t", "different models"),
            ("img_size: 32", "img_size: 64", "different image sizes"),
            ("img_size: 32", "img_size: [64, 32]", r"sizes\.(.|\n)*32 x 32(.|\n)*64 x 32"),
        ):
            assert old in config
            other.config_file.write_text(config.replace(old, new))
            with pytest.raises(RunError, match=message):
                pair()
        other.config_file.write_text(config)
        splits = (other.path / "splits.csv").read_text()
        (other.path / "splits.csv").write_text(splits.replace(",val,", ",fit,", 1))
        with pytest.raises(RunError, match="different validation samples: 1 "):
            pair()
        (other.path / "splits.csv").write_text(splits)
        state = load_checkpoint_file(other.ckpt / "best_model.pth")
        del state["model"]["head.weight"]
        save_checkpoint_file(state, other.ckpt / "best_model.pth")
        with pytest.raises(CheckpointError, match="same tensors"):
            pair()
    finally:
        shutil.rmtree(other.path)


def test_runs_of_one_architecture_are_averaged(run: RunFolder) -> None:
    other = RunFolder.open(shutil.copytree(run.path, run.path.with_name(f"{run.path.name}3")))
    try:
        info = json.loads((other.path / "run.json").read_text()) | {"id": "other"}
        (other.path / "run.json").write_text(json.dumps(info))
        write(run, "best_model.pth", epoch=1, change=spoil(1.0))
        write(other, "best_model.pth", epoch=1, change=spoil(-1.0))
        made = make_soup(
            [run, RunFolder.open(other.path)],
            exp_dir=Path("runs"),
            command=[],
            say=lambda text: None,
        )
        assert made is not None
        assert {one["run"] for one in made.info["ingredients"]} == {run.id, "other"}
    finally:
        shutil.rmtree(other.path)
