"""The `train` and `output` sections, and the part of them the trainer itself reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sightline.config.image_size import ImageSize
from sightline.config.section import Section
from sightline.errors import TrainingError

DEFAULT_EFFECTIVE_BATCH = 64
"""Images behind one optimizer step with batch_size auto, where nothing is said."""
_WITHOUT_MOMENTUM = ("adam", "adamw")


class StepConfig(Section):
    """How one optimizer step is made and judged; the same for every task."""

    amp: bool = True
    """Allow mixed precision; false means fp32 everywhere."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 on GPUs that have it, else fp16 with a gradient scaler, fp32 on a CPU."""
    accumulate_steps: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before one optimizer step."""
    grad_clip_norm: float | None = Field(default=None, gt=0)
    """Largest L2 norm of the model's gradients together; null: no clipping."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then what is evaluated."""
    compile: bool = False
    """Compile the model with torch.compile."""
    deterministic: bool = False
    """Refuse GPU kernels whose result depends on timing."""
    monitor: str | None = None
    """Validation metric that chooses the best epoch; null: validation loss."""
    mode: Literal["min", "max"] = "max"
    """Whether a larger or smaller value of `monitor` is better (the loss is always min)."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Epochs without improvement after which training stops; null: never."""
    early_stopping_min_delta: float = Field(default=0.0, ge=0)
    """Smallest change of the monitored value that counts as an improvement for early stopping."""

    @model_validator(mode="after")
    def _precision_agrees(self) -> StepConfig:
        if not self.amp and self.precision in ("bf16", "fp16"):
            raise ValueError(f"amp is false, so precision {self.precision} would never be used")
        if self.early_stopping_min_delta and self.early_stopping_patience is None:
            raise ValueError("early_stopping_min_delta is used only with early_stopping_patience")
        if self.mode != "max" and self.monitor is None:
            raise ValueError("mode is used only with monitor; of a loss the smaller is the better")
        return self


class ConvolutionConfig(Section):
    """What only networks for pictures have."""

    freeze_norm_statistics: bool = False
    """Keep BatchNorm running statistics as they are while training."""
    channels_last: bool = True
    """Store convolution weights channels-last; faster on CPU and GPU, same results."""


class SaveConfig(Section):
    """When checkpoints are written."""

    save_interval: int = Field(default=10, ge=0)
    """Epochs between epoch_NNN.pth files; the last is always kept; 0: only latest and best."""
    save_every_steps: int = Field(default=0, ge=0)
    """Optimizer steps between extra writes of latest_model.pth inside an epoch; 0: none."""


class TrainerConfig(StepConfig, ConvolutionConfig, SaveConfig):
    """Everything BaseTrainer can be told."""


class TrainConfig(StepConfig):
    """The `train` section: the step, plus how long, how fast and with which optimizer."""

    device: str = "auto"
    """auto (CUDA, then CPU), cpu, cuda, cuda:N or mps."""
    batch_size: Annotated[int, Field(ge=1)] | Literal["auto"] = 32
    """Samples in one batch, over all processes together; auto measures which size is fastest."""
    epochs: int = Field(default=10, ge=0)
    """Passes over the training samples."""
    optimizer: str = "adamw"
    """adam, adamw, sgd, or any optimizer name timm knows."""
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of matrices and kernels (never of biases and norms)."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of sgd."""
    scheduler: Literal["cosine", "linear", "multistep", "warm_restarts", "plateau", "none"] = (
        "cosine"
    )
    """How the learning rate falls after the warm-up."""
    warmup_epochs: float = Field(default=0.0, ge=0)
    """Epochs of linear warm-up from `warmup_factor` to 1; fractions count."""
    warmup_factor: float = Field(default=0.01, gt=0, le=1)
    """First learning rate of the warm-up as a fraction of `lr`."""
    min_lr_factor: float = Field(default=0.0, ge=0, le=1)
    """Last learning rate of cosine, linear, warm_restarts and plateau as a fraction of `lr`."""
    milestones: tuple[float, ...] = ()
    """Epochs after which multistep multiplies the rate by `gamma`."""
    gamma: float = Field(default=0.1, gt=0, lt=1)
    """Factor of multistep and plateau."""
    restart_epochs: float = Field(default=10.0, gt=0)
    """First period of warm_restarts in epochs."""
    restart_multiplier: float = Field(default=2.0, ge=1)
    """Each period of warm_restarts is this much longer than the one before."""
    plateau_patience: int = Field(default=5, ge=0)
    """Epochs without improvement after which plateau lowers the rate."""
    freeze: tuple[str, ...] = ()
    """Modules that never learn, by name; * is a wildcard, as in backbone.layer1*."""
    log_interval: int = Field(default=50, ge=1)
    """Steps between lines of the log file."""

    @property
    def samples_per_batch(self) -> int:
        """The batch size as a number; `auto` has to be settled before anything is trained."""
        if self.batch_size == "auto":
            raise TrainingError(
                "train.batch_size=auto was not settled before it was used.",
                expected="a number, which `sightline train` finds by measuring",
                remedy="set train.batch_size=NUMBER",
            )
        return self.batch_size

    @model_validator(mode="after")
    def _optimizer_keys_are_used(self) -> TrainConfig:
        default = type(self).model_fields["momentum"].default
        if self.momentum != default and self.optimizer.lower() in _WITHOUT_MOMENTUM:
            raise ValueError(
                f"momentum is used only with an optimizer that has one, as sgd, "
                f"and optimizer is {self.optimizer}"
            )
        return self

    @model_validator(mode="after")
    def _scheduler_keys_are_used(self) -> TrainConfig:
        users = {
            "min_lr_factor": ("cosine", "linear", "warm_restarts", "plateau"),
            "milestones": ("multistep",),
            "gamma": ("multistep", "plateau"),
            "restart_epochs": ("warm_restarts",),
            "restart_multiplier": ("warm_restarts",),
            "plateau_patience": ("plateau",),
            "warmup_epochs": ("cosine", "linear", "multistep", "warm_restarts", "none"),
        }
        for key, schedulers in users.items():
            default = type(self).model_fields[key].default
            if getattr(self, key) != default and self.scheduler not in schedulers:
                raise ValueError(
                    f"{key} is used only with scheduler {' or '.join(schedulers)}, "
                    f"and scheduler is {self.scheduler}"
                )
        if self.warmup_factor != type(self).model_fields["warmup_factor"].default and (
            not self.warmup_epochs
        ):
            raise ValueError("warmup_factor is used only with warmup_epochs, as in warmup_epochs=1")
        if self.scheduler == "multistep" and not self.milestones:
            raise ValueError("scheduler multistep needs milestones, for example [30, 60]")
        if self.scheduler != "none" and self.epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} leaves nothing of {self.epochs} epochs; "
                f"shorten it, as in train.warmup_epochs={self.epochs / 10:g}"
            )
        return self


class PictureTrainConfig(TrainConfig, ConvolutionConfig):
    """The `train` section where samples are pictures."""

    img_size: ImageSize = 224
    """Side of the square the model sees, or its [height, width], in pixels."""
    effective_batch_size: int | None = Field(default=None, ge=1)
    """Images behind one optimizer step, which batch_size auto keeps; null: 64."""
    layer_decay: float | None = Field(default=None, gt=0, le=1)
    """Each layer further from the head learns at this times the next one's rate; null: alike."""

    @model_validator(mode="after")
    def _batch_size_keys_are_used(self) -> PictureTrainConfig:
        if self.batch_size != "auto" and self.effective_batch_size is not None:
            raise ValueError(
                "effective_batch_size is used only with batch_size auto, "
                f"and batch_size is {self.batch_size}"
            )
        if self.batch_size == "auto" and self.accumulate_steps != 1:
            raise ValueError(
                "accumulate_steps is not read with batch_size auto, which finds it; "
                "say how many images are behind a step with effective_batch_size"
            )
        return self


class OutputConfig(SaveConfig):
    """The `output` section: where runs and logs go, and how often checkpoints are written."""

    exp_dir: Path = Path("experiments/train")
    """Folder that holds one folder per day with one folder per run."""
    logs_dir: Path = Path("logs")
    """Folder that holds one folder per day with the log files."""
    snapshots: bool = True
    """Keep the epoch_NNN.pth files of save_interval; false: only latest and best."""

    @model_validator(mode="after")
    def _interval_is_used(self) -> OutputConfig:
        default = type(self).model_fields["save_interval"].default
        if not self.snapshots and self.save_interval not in (0, default):
            raise ValueError("save_interval is used only with snapshots, and snapshots is false")
        return self


def trainer_config(train: TrainConfig, output: OutputConfig) -> TrainerConfig:
    """The trainer's own settings, picked from the two sections a user writes."""
    fields = TrainerConfig.model_fields
    values = {key: value for part in (train, output) for key, value in part if key in fields}
    if not output.snapshots:
        values["save_interval"] = 0
    return TrainerConfig(**values)
