"""Keys of the re-identification baselines configured by YACS, and what they are called here."""

from __future__ import annotations

OLD_NAMES: dict[str, str] = {
    "MODEL.DEVICE": "train.device",
    "MODEL.DEVICE_ID": "`CUDA_VISIBLE_DEVICES=N`, or train.device=cuda:N, chooses the GPU",
    "MODEL.NAME": "model.name",
    "MODEL.LAST_STRIDE": "model.last_stride",
    "MODEL.PRETRAIN_PATH": "model.weights",
    "MODEL.PRETRAIN_CHOICE": "model.pretrained",
    "MODEL.NECK": "model.neck",
    "MODEL.IF_WITH_CENTER": "loss.center.weight",
    "MODEL.METRIC_LOSS_TYPE": (
        "each loss has a weight of its own: loss.triplet.weight, loss.center.weight"
    ),
    "MODEL.IF_LABELSMOOTH": "loss.id.label_smoothing",
    "INPUT.SIZE_TRAIN": "train.img_size",
    "INPUT.SIZE_TEST": "train.img_size",
    "INPUT.PROB": "data.augment.flip",
    "INPUT.RE_PROB": "data.augment.erase",
    "INPUT.PIXEL_MEAN": "the mean is that of the model's weights and lies inside the model",
    "INPUT.PIXEL_STD": "the deviation is that of the model's weights and lies inside the model",
    "INPUT.PADDING": "data.augment.shift",
    "DATASETS.NAMES": "data.layout",
    "DATASETS.ROOT_DIR": "data.root",
    "DATASETS.TRAIN_FOLDER": "data.train_folder",
    "DATASETS.QUERY_FOLDER": "data.query_folder",
    "DATASETS.GALLERY_FOLDER": "data.gallery_folder",
    "DATALOADER.NUM_WORKERS": "data.workers",
    "DATALOADER.SAMPLER": "sampler.kind",
    "DATALOADER.NUM_INSTANCE": "sampler.images_per_identity",
    "SOLVER.OPTIMIZER_NAME": "train.optimizer",
    "SOLVER.MAX_EPOCHS": "train.epochs",
    "SOLVER.BASE_LR": "train.lr",
    "SOLVER.BIAS_LR_FACTOR": "train.bias_lr_factor",
    "SOLVER.MOMENTUM": "train.momentum",
    "SOLVER.MARGIN": "loss.triplet.margin",
    "SOLVER.CLUSTER_MARGIN": "the cluster loss is not part of the baseline and is not here",
    "SOLVER.CENTER_LR": "loss.center.lr",
    "SOLVER.CENTER_LOSS_WEIGHT": "loss.center.weight",
    "SOLVER.RANGE_K": "the range loss is not part of the baseline and is not here",
    "SOLVER.RANGE_MARGIN": "the range loss is not part of the baseline and is not here",
    "SOLVER.RANGE_ALPHA": "the range loss is not part of the baseline and is not here",
    "SOLVER.RANGE_BETA": "the range loss is not part of the baseline and is not here",
    "SOLVER.RANGE_LOSS_WEIGHT": "the range loss is not part of the baseline and is not here",
    "SOLVER.WEIGHT_DECAY": "train.weight_decay",
    "SOLVER.WEIGHT_DECAY_BIAS": "biases are never decayed, so there is nothing to set",
    "SOLVER.GAMMA": "train.gamma",
    "SOLVER.STEPS": "train.milestones",
    "SOLVER.WARMUP_FACTOR": "train.warmup_factor",
    "SOLVER.WARMUP_ITERS": "train.warmup_epochs",
    "SOLVER.WARMUP_METHOD": "the warm-up is linear, so there is nothing to set",
    "SOLVER.CHECKPOINT_PERIOD": "output.save_interval",
    "SOLVER.LOG_PERIOD": "train.log_interval",
    "SOLVER.EVAL_PERIOD": "every epoch is validated, so there is nothing to set",
    "SOLVER.IMS_PER_BATCH": "train.batch_size",
    "TEST.IMS_PER_BATCH": "eval.batch_size",
    "TEST.RE_RANKING": "eval.rerank.use",
    "TEST.WEIGHT": "`sightline evaluate RUN` finds the weights of a run by itself",
    "TEST.NECK_FEAT": "eval.feature",
    "TEST.FEAT_NORM": "eval.normalize",
    "OUTPUT_DIR": "output.exp_dir",
}
"""Old key -> our key; where there is no counterpart, a sentence (it has spaces) that says why."""


def our_name(old: str) -> str | None:
    """Return what to say of a key of the old configuration; None for a key that is none.

    Large and small letters are alike, since W&B files have both; but our own keys are no old ones.

    >>> our_name("solver.base_lr")
    'write train.lr'
    >>> our_name("MODEL.NAME"), our_name("model.name")
    ('write model.name', None)
    """
    found = OLD_NAMES.get(old.upper())
    if found is None or found == old:
        return None
    return found if " " in found else f"write {found}"
