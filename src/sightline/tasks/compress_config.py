"""The configuration of compression: vectors, an encoder, the loss, and how recall is measured."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sightline.config.section import Section
from sightline.config.sections import EvalConfig
from sightline.data.vector_settings import VectorDataConfig
from sightline.models.vector_encoder import VectorEncoderConfig
from sightline.tasks.config import TaskConfig
from sightline.training.settings import TrainConfig

LossName = Literal[
    "DPLossNeighbours", "DPLossTopK", "DPLossV1", "DPLossV1Norm", "DPLossV2", "DPLossV2Norm"
]
HARD: tuple[LossName, ...] = ("DPLossV1", "DPLossV1Norm")
"""Their rank term is counted, and has no gradient."""
_READ_BY: dict[str, tuple[LossName, ...]] = {
    "k": ("DPLossNeighbours", "DPLossTopK", "DPLossV1", "DPLossV1Norm"),
    "tau": ("DPLossNeighbours", "DPLossTopK", "DPLossV2", "DPLossV2Norm"),
    "tau_scale": ("DPLossTopK", "DPLossV2", "DPLossV2Norm"),
}


class DistanceLossConfig(Section):
    """What makes distances and neighbours survive: lambda_rank * rank + lambda_pairdist * pairs."""

    function: LossName = "DPLossNeighbours"
    """DPLossNeighbours: the divergence of neighbourhoods (Hinton & Roweis 2002); DPLossV2: soft
    ranks, DPLossV2Norm: the same as fractions; DPLossTopK: soft ranks, the nearest weighted most;
    DPLossV1, DPLossV1Norm: hard ranks, which have no gradient, so that only the pairs train."""
    k: int = Field(default=10, ge=1)
    """Neighbours that matter most; of DPLossV1 and DPLossV1Norm only a divisor."""
    lambda_rank: float = Field(default=1.0, ge=0)
    """Weight of the rank term."""
    lambda_pairdist: float = Field(default=0.0, ge=0)
    """Weight of the mean squared difference between distances before and after."""
    tau: float = Field(default=1.0, gt=0)
    """How soft ranks are: lower is sharper. Of DPLossNeighbours, how wide neighbourhoods are."""
    tau_scale: Literal["relative", "absolute"] = "relative"
    """relative: tau is in units of the spread of a row's distances; absolute: of the vectors."""
    geometry: Literal["euclidean", "cosine"] = "euclidean"
    """Which distance is to survive; cosine is one minus the cosine."""
    balance: Literal["none", "auto"] = "none"
    """auto: in each batch the pair term is scaled to push as hard as the rank term does."""

    @model_validator(mode="after")
    def _keys_are_read(self) -> Self:
        for key, functions in _READ_BY.items():
            if self._is_changed(key) and self.function not in functions:
                raise ValueError(
                    f"{key} is used only with {' or '.join(functions)}, "
                    f"and function is {self.function}"
                )
        if self.function in HARD and not self.lambda_pairdist:
            raise ValueError(
                f"{self.function} counts ranks by sorting, which has no gradient, so with "
                "lambda_pairdist 0 nothing would be learnt; set lambda_pairdist, as in "
                "loss.lambda_pairdist=0.3, or use DPLossV2, whose ranks are soft"
            )
        if not self.lambda_rank and not self.lambda_pairdist:
            raise ValueError("lambda_rank and lambda_pairdist are both 0: there is no loss")
        if self.balance == "auto" and not (self.lambda_rank and self.lambda_pairdist):
            raise ValueError("balance auto needs both terms: set lambda_rank and lambda_pairdist")
        if self.balance == "auto" and self.function in HARD:
            raise ValueError(
                f"balance auto has nothing to balance: {self.function} trains by pairs"
            )
        return self


class CompressTrainConfig(TrainConfig):
    """The `train` section with the defaults of compression."""

    batch_size: int = Field(default=512, ge=4)
    """Vectors in one batch, over all processes together; each is compared with all others of it."""
    epochs: int = Field(default=100, ge=0)
    """Passes over the training vectors."""
    optimizer: str = "adam"
    """adam, adamw, sgd, or any optimizer name timm knows."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of matrices (never of biases)."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """fp32, since neighbours differ in the last digits; auto, bf16 and fp16 are faster on GPUs."""
    monitor: str | None = "recall_at_10"
    """Validation metric that chooses the best epoch, recall_at_K; null: validation loss."""


class CompressEvalConfig(EvalConfig):
    """How many of the true neighbours must be found again, and among how many rows."""

    recall_k: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(5, 10), min_length=1)
    """The K of each recall: the share of a row's K nearest that are among the K nearest after."""
    pool: Annotated[int, Field(ge=10)] | Literal["full", "held-out"] = 3000
    """Rows among which neighbours are looked for: held-out ones, filled up with others where they
    are too few; full: every row; held-out: never a row that was learnt from. Recall falls with the
    number of rows, so that is always told."""


class CompressConfig(TaskConfig):
    """Compression from vectors to shorter ones."""

    task: Literal["compress"] = "compress"
    """Compression: shorter vectors that keep distances and neighbours."""
    data: VectorDataConfig = VectorDataConfig()
    model: VectorEncoderConfig = VectorEncoderConfig()
    train: CompressTrainConfig = CompressTrainConfig()
    loss: DistanceLossConfig = DistanceLossConfig()
    eval: CompressEvalConfig = CompressEvalConfig()

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        monitor = self.train.monitor
        measured = [f"recall_at_{k}" for k in self.eval.recall_k]
        if monitor is not None and monitor not in measured:
            raise ValueError(
                f"train.monitor is {monitor}, and eval.recall_k measures {', '.join(measured)}"
            )
        if monitor is not None and self.train.mode == "min":
            raise ValueError(f"mode min would keep the epoch with the worst {monitor}")
        loss, size = self.loss, self.train.batch_size
        # A divisor may be any number, and what is not read has no meaning.
        if loss.function in ("DPLossNeighbours", "DPLossTopK") and loss.k > size - 2:
            raise ValueError(
                f"loss.k is {loss.k}, and of {size} rows in a batch each has {size - 1} others: "
                f"all of them are no neighbourhood; lower loss.k to {size - 2} or less, or raise "
                "train.batch_size"
            )
        return self
