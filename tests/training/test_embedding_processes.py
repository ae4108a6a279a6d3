"""Two processes train an embedding and its head like one process with the same global batch."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

PROGRAM = """
    import sys
    from pathlib import Path

    import numpy as np
    import torch

    from sightline.config import load_config
    from sightline.data.dataset import Dataset
    from sightline.data.loading import Batch
    from sightline.data.manifest import Manifest
    from sightline.tasks import TASKS
    from sightline.training.runtime import process, process_group

    EACH, CLASSES = 8, "abcd"
    names = [f"{label}/{number}.png" for label in CLASSES for number in range(EACH)]
    samples = Manifest.build(
        Path(), id=names, path=names, label=[name[0] for name in names], split=["fit"] * len(names)
    )
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (len(names), 3, 32, 32), generator=random).to(torch.uint8)


    class Shares:
        def __len__(self):
            return 4

        def batches(self, epoch, start=0):
            order = torch.randperm(len(names), generator=torch.Generator().manual_seed(epoch))
            for batch in order.split(8)[start:]:
                mine = batch[process().rank :: process().count]
                codes = torch.from_numpy(samples.label.codes[mine.numpy()].astype(np.int64))
                yield Batch(images[mine], codes, [names[int(row)] for row in mine])

        def __iter__(self):
            return self.batches(1)


    folder, name = Path(sys.argv[1]), sys.argv[2]
    settings = [
        "data.digits=digits", "model.name=test_resnet", "train.img_size=32", "train.device=cpu",
        "train.batch_size=8", "train.warmup_epochs=0", "train.epochs=2", *sys.argv[3:],
    ]
    config = load_config(
        f"{name}/digits", settings, tasks={name: task.config for name, task in TASKS.items()}
    )
    with process_group(torch.device("cpu")):
        torch.manual_seed(process().rank)
        task = TASKS[name]
        model = task.create_model(config, list(CLASSES), trained=False)
        trainer = task.create_trainer(
            config, model, dataset=Dataset(samples), steps_per_epoch=4,
            checkpoint_dir=folder / "ckpt", callbacks=[],
        )
        for module in model.backbone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
                module.train = lambda mode=True, module=module: module
        trainer.fit(Shares(), None, 2)
        torch.save(model.state_dict(), folder / f"end{process().rank}.pth")
        if trainer.loss_fn is not None:
            torch.save(trainer.loss_fn.state_dict(), folder / f"loss{process().rank}.pth")
"""


# Without BatchNorm's statistics a batch is the sum of its parts.
RETRIEVE = ("retrieve", "sampler.samples_per_class=2", "model.embedding_dim=null")
REID = (
    *("reid", "sampler.kind=shuffled", "sampler.images_per_identity=4", "loss.triplet.weight=0"),
    *("model.neck=none", "model.last_stride=null", "loss.center.weight=0.01"),
)
MEMORY = (
    *(*RETRIEVE, "loss.kind=supcon", "loss.memory=12", "loss.scale=64", "loss.margin=null"),
    "train.frozen_epochs=0",
)


@pytest.mark.parametrize(
    "settings",
    [
        (*RETRIEVE, "train.frozen_epochs=1", "loss.sub_centers=2"),
        pytest.param(REID, marks=pytest.mark.slow),
        pytest.param(MEMORY, marks=pytest.mark.slow),
    ],
    ids=["arcface", "centres", "supcon"],
)
def test_two_processes_agree(settings: tuple[str, ...], tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    ends = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command = [*launcher, "--nproc-per-node", str(count), str(program), str(folder), *settings]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        ends[count] = [torch.load(folder / f"end{rank}.pth") for rank in range(count)]
    first, second = ends[2]
    assert all(torch.equal(first[name], second[name]) for name in first), "both have one model"
    saved = torch.load(tmp_path / "2" / "ckpt" / "latest_model.pth", weights_only=True)
    assert all(torch.equal(saved["model"][name], first[name]) for name in first)
    losses = [torch.load(file) for file in sorted((tmp_path / "2").glob("loss*.pth"))]
    assert all(torch.equal(losses[0][name], losses[1][name]) for one in losses for name in one)
    if settings is MEMORY:
        assert int(losses[0]["written"]) == 64
        return
    # Each process's loss is a mean over its pictures, so together they are that of one process.
    (alone,) = ends[1]
    assert {"head.weight", "classifier.weight"} & set(alone)
    for name in alone:
        assert torch.allclose(alone[name], first[name], atol=1e-4), name
    if settings is REID:
        centers = torch.load(tmp_path / "1" / "loss0.pth")["centers"]
        assert torch.allclose(centers, losses[0]["centers"], atol=1e-4)
