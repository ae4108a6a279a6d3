"""Image AUROC of anomalib's STFPM or PatchCore on one MVTec-style folder, its own engine and data.

Its lightning model, its Engine and its Folder data module do all the work with their defaults;
what differs is said in `PROTOCOL`. Runs in the peers' environment, without a network.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.metrics import AUROC, Evaluator
from anomalib.models import Patchcore, Stfpm
from anomalib.models.components import TimmFeatureExtractor
from anomalib.models.image.stfpm import torch_model as stfpm_model
from lightning.pytorch.callbacks import Callback
from PIL import Image
from sklearn.metrics import roc_auc_score

BACKBONE = "resnet18"
BATCH_SIZE = 32
LAYERS = {"stfpm": ("layer1", "layer2", "layer3"), "patchcore": ("layer2", "layer3")}
PACKAGES = ("anomalib", "torch", "torchvision", "timm", "lightning", "torchmetrics", "numpy")
PROTOCOL = (
    "trains on all of train/good, no validation, no early stopping, last epoch, all of test/ read "
    "once; images squeezed to a square (antialiased), ImageNet mean and deviation, no crop; "
    "scores raw, before any normalisation; masks of the test set made binary at 127 beforehand "
    "and squeezed to the same square"
)


def main() -> None:
    """Train and test one model with one seed, and write what came out as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", choices=sorted(LAYERS), required=True)
    options.add_argument("--data", type=Path, required=True, help="train/good, test/*, ...")
    options.add_argument("--weights", type=Path, required=True, help="state dict of the backbone")
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--epochs", type=int, default=1, help="of STFPM; PatchCore has one pass")
    options.add_argument("--ratio", type=float, default=0.1, help="of PatchCore's coreset")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    lightning.seed_everything(given.seed, workers=True)
    with tempfile.TemporaryDirectory() as folder:
        data = folder_of(given.data, Path(folder))
        result = measure(given, data, Path(folder))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    beside = given.out.with_suffix(".partial")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    beside.replace(given.out)
    print(json.dumps({key: value for key, value in result.items() if key != "images"}))


def measure(given: argparse.Namespace, data: Folder, place: Path) -> dict[str, Any]:
    """Fit and test; the scores, the seconds and everything that decided them."""
    model = create(given.model, given.size, given.ratio)
    report = load_backbone(model, given.model, torch.load(given.weights, weights_only=True))
    collected = Collect()
    epochs = given.epochs if given.model == "stfpm" else 1
    engine = Engine(
        callbacks=[collected],
        default_root_dir=place / "runs",
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    started = time.perf_counter()
    engine.fit(model=model, datamodule=data)
    fitted = time.perf_counter()
    metrics = engine.test(model=model, datamodule=data)[0]
    tested = time.perf_counter()
    scores, labels, trained = collected.scores, collected.labels, len(data.train_data)
    return {
        "system": "anomalib",
        "model": given.model,
        "set": given.data.name,
        "seed": given.seed,
        "image_auroc": float(roc_auc_score(labels, scores)),
        "own_image_auroc": float(metrics["image_AUROC"]),
        "own_pixel_auroc": float(metrics["pixel_AUROC"]),
        "n": {"train": trained, "normal": labels.count(0), "anomalous": labels.count(1)},
        "seconds": {"train": fitted - started, "test": tested - fitted},
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "settings": {
            "size": given.size,
            "epochs": engine.trainer.current_epoch,
            "batch_size": BATCH_SIZE,
            "backbone": [BACKBONE, *LAYERS[given.model]],
            "weights_sha256": hashlib.sha256(given.weights.read_bytes()).hexdigest(),
            "weights": report,
            "threads": given.threads,
            "pre_processing": str(model.pre_processor.transform),
            **settings(model, given.model),
        },
        "protocol": PROTOCOL,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        "images": [
            {"id": name, "label": label, "score": score}
            for name, label, score in zip(collected.names, labels, scores, strict=True)
        ],
    }


def settings(model: Stfpm | Patchcore, name: str) -> dict[str, Any]:
    """The settings of the method itself, read back from the model."""
    if name == "patchcore":
        return {
            "coreset_ratio": model.coreset_sampling_ratio,
            "neighbors": model.model.num_neighbors,
            "memory_bank": list(model.model.memory_bank.shape),
        }
    group = model.configure_optimizers().param_groups[0]
    return {key: group[key] for key in ("lr", "momentum", "weight_decay")}


def create(name: str, size: int, ratio: float) -> Stfpm | Patchcore:
    """The lightning model with random weights in every network."""
    # The default evaluator adds F1 scores, which need the thresholds of a validation set; without
    # the post-processor, scores are neither normalised nor clipped.
    evaluator = Evaluator(
        test_metrics=[
            AUROC(fields=["pred_score", "gt_label"], prefix="image_"),
            AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_", strict=False),
        ]
    )
    plain = {"evaluator": evaluator, "post_processor": False, "visualizer": False}
    if name == "patchcore":
        return Patchcore(
            backbone=BACKBONE,
            layers=LAYERS[name],
            pre_trained=False,
            coreset_sampling_ratio=ratio,
            pre_processor=Patchcore.configure_pre_processor((size, size)),
            **plain,
        )
    # Its teacher always asks for downloaded weights.
    original = stfpm_model.TimmFeatureExtractor

    def untrained(**arguments: Any) -> TimmFeatureExtractor:
        return TimmFeatureExtractor(**{**arguments, "pre_trained": False})

    stfpm_model.TimmFeatureExtractor = untrained
    try:
        return Stfpm(
            backbone=BACKBONE,
            layers=LAYERS[name],
            pre_processor=Stfpm.configure_pre_processor((size, size)),
            **plain,
        )
    finally:
        stfpm_model.TimmFeatureExtractor = original


def load_backbone(
    model: Stfpm | Patchcore, name: str, tensors: Mapping[str, torch.Tensor]
) -> dict[str, int]:
    """Put the file's tensors into the teacher or the backbone, all of them; what was loaded."""
    inner = model.model
    extractor = inner.teacher_model if name == "stfpm" else inner.feature_extractor
    network = extractor.feature_extractor
    wanted = network.state_dict()
    network.load_state_dict({key: tensors[key] for key in wanted}, strict=True)
    for key, value in network.state_dict().items():
        if not torch.equal(value, tensors[key]):
            raise SystemExit(f"{key} was not loaded")
    report = {"tensors_loaded": len(wanted), "unused": len(set(tensors) - set(wanted))}
    if name == "stfpm":
        student = inner.student_model.feature_extractor.state_dict()
        weights = [key for key, value in student.items() if value.ndim == 4]
        same = [key for key in weights if torch.equal(student[key], tensors[key])]
        if same:
            raise SystemExit(f"the student starts with the teacher's {same}")
        report["student_convolutions_random"] = len(weights)
    return report


def folder_of(source: Path, place: Path) -> Folder:
    """The set for the data module, with masks made binary at 127 and named like their images.

    It takes every value above 0 as a defect, which the edges of lossy masks are, and pairs images
    and masks by their order, in which `1_mask` comes after `10_mask` but `1` before `10`.
    """
    root = place / "data"
    shutil.copytree(source / "train" / "good", root / "train" / "good")
    shutil.copytree(source / "test", root / "test")
    defects = sorted(one.name for one in (root / "test").iterdir() if one.name != "good")
    for mask in sorted((source / "ground_truth").glob("*/*")):
        values = np.asarray(Image.open(mask).convert("L"))
        target = root / "ground_truth" / mask.parent.name
        target.mkdir(parents=True, exist_ok=True)
        binary = Image.fromarray(np.where(values > 127, 255, 0).astype(np.uint8))
        binary.save(target / f"{mask.stem.removesuffix('_mask')}.png")
    return Folder(
        name=source.name,
        root=root,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{name}" for name in defects],
        mask_dir=[f"ground_truth/{name}" for name in defects],
        train_batch_size=BATCH_SIZE,
        eval_batch_size=BATCH_SIZE,
        num_workers=0,
        val_split_mode="none",
    )


class Collect(Callback):
    """Keeps the raw score of every test image."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.scores: list[float] = []
        self.labels: list[int] = []

    def on_test_batch_end(self, *arguments: Any, **named: Any) -> None:
        """Take the scores of one batch."""
        batch = named["outputs"] if "outputs" in named else arguments[2]
        self.names += ["/".join(Path(path).parts[-2:]) for path in batch.image_path]
        self.scores += batch.pred_score.flatten().tolist()
        self.labels += [int(label) for label in batch.gt_label]


if __name__ == "__main__":
    main()
