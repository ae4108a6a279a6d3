"""PatchCore: anomalies are patches far from every patch of normal images.

Roth et al., "Towards Total Recall in Industrial Anomaly Detection", 2022. B C H W are batch,
channels, height and width of the images; h w the grid of patches, D their vectors' size, M the
vectors of the memory bank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.errors import DataError
from sightline.models.anomaly_output import AnomalyOutput
from sightline.models.blur import GaussianBlur
from sightline.models.coreset import greedy_k_center, projected_size, sparse_projection
from sightline.models.feature_maps import FeatureMaps, create_feature_maps
from sightline.models.neighbours import nearest, nearest_few
from sightline.models.patch_sample import PatchSample
from sightline.models.settings import BackboneConfig
from sightline.models.weights import WeightsReport
from sightline.random_numbers import generator

LAYERS = ("layer2", "layer3")


@dataclass(frozen=True, slots=True)
class BankReport:
    """How a memory bank was made."""

    images: int
    """Normal images looked at."""
    patches: int
    """Patches of these images."""
    candidates: int
    """Patches kept for the choice: all, or as many as the memory limit allows."""
    kept: int
    """Patches in the bank, M."""
    radius: float
    """Largest distance of a candidate to the bank, between projections of the vectors."""

    def summary(self) -> str:
        """One line for a log."""
        sampled = "" if self.candidates == self.patches else f", {self.candidates} sampled"
        return (
            f"{self.kept} of {self.patches} patches kept{sampled}, from {self.images} images; "
            f"none of the others is farther than {self.radius:.3g} from one of them"
        )


class PatchCore(nn.Module):
    """Frozen feature maps, a memory bank of normal patches, and the distance to it."""

    memory_bank: Tensor

    def __init__(self, features: FeatureMaps, *, neighbours: int = 9, sigma: float = 4.0) -> None:
        super().__init__()
        if features.trainable:
            raise ValueError("the feature maps must be frozen")
        if neighbours < 1:
            raise ValueError(f"neighbours must be 1 or more, got {neighbours}")
        self.features = features
        self.neighbours = neighbours
        self.blur = GaussianBlur(sigma) if sigma else nn.Identity()
        self.register_buffer("memory_bank", torch.empty(0, 0))

    @property
    def weights_report(self) -> WeightsReport | None:
        """What was loaded into the backbone; None after a random start."""
        return self.features.weights_report

    @torch.no_grad()
    def patches(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Vectors (B, h w, D) float32 of the patches of uint8 images (B, 3, H, W), and (h, w).

        Each map is averaged over 3 x 3 neighbours (zeros beyond the edges, equation 2), brought to
        the grid of the first layer bilinearly, and all are joined along the channels.
        """
        # Of full precision also under a user's autocast: a bank is kept, and compared with later.
        with torch.autocast(images.device.type, enabled=False):
            found = self.features(images)
        maps = [F.avg_pool2d(one, 3, stride=1, padding=1) for one in found]
        height, width = maps[0].shape[-2:]
        same = [maps[0]] + [
            F.interpolate(one, size=(height, width), mode="bilinear", align_corners=False)
            for one in maps[1:]
        ]
        return torch.cat(same, dim=1).flatten(2).transpose(1, 2).contiguous(), (height, width)

    def fit(
        self,
        batches: Iterable[Tensor],
        *,
        seed: int,
        coreset_ratio: float = 0.1,
        memory_mib: int = 2048,
    ) -> BankReport:
        """Fill the memory bank from uint8 batches (B, 3, H, W) of normal images.

        `coreset_ratio` of the candidate patches are kept, by greedy k-center on sparse random
        projections of eps 0.9 (section 3.2). Candidates and their projections take `memory_mib` at
        most: of more patches a uniform sample is taken, a function of the seed and the order of the
        images. The bank is another only where the seed, the images, their order or these numbers
        are. DataError without images.
        """
        if not 0 < coreset_ratio <= 1:
            raise ValueError(f"coreset_ratio is a fraction above 0, up to 1; got {coreset_ratio}")
        sample, images = None, 0
        device = self.features.normalize.mean.device
        for batch in batches:
            vectors, _ = self.patches(batch.to(device))
            if sample is None:
                sample = PatchSample(_room(vectors.shape[2], memory_mib), seed=seed)
            sample.add(vectors)
            images += len(batch)
        if sample is None or not len(sample):
            raise DataError(
                "There is no normal image to fill the memory bank from.",
                expected="one or more",
                got=images,
                where="the train split",
                remedy="put normal images into it",
            )
        with torch.autocast(device.type, enabled=False):
            self.memory_bank, radius = _coreset(sample, coreset_ratio, seed=seed)
        return BankReport(images, sample.seen, len(sample), len(self.memory_bank), radius)

    @torch.no_grad()
    def forward(self, images: Tensor) -> AnomalyOutput:
        """Scores (B,) and maps (B, H, W) of uint8 images (B, 3, H, W).

        The map holds each patch's distance to the nearest vector of the bank, up-sampled bilinearly
        and blurred (section 3.3). The score is the largest distance, weighted by equation 7.
        RuntimeError as long as the bank is empty.
        """
        if not len(self.memory_bank):
            raise RuntimeError("the memory bank is empty: fit() it, or load a state dict")
        with torch.autocast(images.device.type, enabled=False):
            vectors, grid = self.patches(images)
            distances, numbers = nearest(vectors.flatten(0, 1), self.memory_bank)
            distances = distances.view(len(images), -1)
            scores = self._scores(vectors, distances, numbers.view(len(images), -1))
            coarse = distances.view(-1, 1, *grid)
            size = (int(images.shape[-2]), int(images.shape[-1]))
            maps = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
            return AnomalyOutput(score=scores, map=self.blur(maps.squeeze(1)))

    def _scores(self, vectors: Tensor, distances: Tensor, numbers: Tensor) -> Tensor:
        """The largest distance of each image, weighted by how rare its nearest neighbour is.

        With m the farthest patch, m* its nearest vector of the bank and N the `neighbours` vectors
        nearest to m* (itself among them), the weight is 1 - exp ‖m - m*‖ / Σ_N exp ‖m - n‖, as in
        equation 7. With one neighbour it would be zero, so then there is none.
        """
        largest, patch = distances.max(dim=1)
        if min(self.neighbours, len(self.memory_bank)) == 1:
            return largest
        rows = torch.arange(len(vectors), device=vectors.device)
        farthest = vectors[rows, patch]
        support = nearest_few(
            self.memory_bank[numbers[rows, patch]], self.memory_bank, self.neighbours
        )
        apart = (farthest[:, None] - self.memory_bank[support]).square().sum(dim=2).sqrt()
        return largest * (1 - torch.exp(largest - torch.logsumexp(apart, dim=1)))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *others: Any, **more: Any
    ) -> None:
        """Make room for a bank of any size before the tensors are copied."""
        bank = state_dict.get(f"{prefix}memory_bank")
        if isinstance(bank, Tensor) and bank.shape != self.memory_bank.shape:
            self.memory_bank = self.memory_bank.new_empty(bank.shape)
        super()._load_from_state_dict(state_dict, prefix, *others, **more)


def create_patchcore(
    config: BackboneConfig,
    layers: Sequence[str] = LAYERS,
    *,
    img_size: int,
    neighbours: int = 9,
    sigma: float = 4.0,
) -> PatchCore:
    """A PatchCore with an empty bank; errors are those of create_feature_maps."""
    features = create_feature_maps(config, layers, img_size=img_size)
    return PatchCore(features, neighbours=neighbours, sigma=sigma)


def _room(size: int, memory_mib: int) -> int:
    """Patches of `size` numbers that fit into the memory, with their projections."""
    numbers = memory_mib * 2**20 // 4
    return max(1, numbers // (size + min(size, projected_size(numbers // size))))


def _coreset(sample: PatchSample, ratio: float, *, seed: int) -> tuple[Tensor, float]:
    """The bank (M, D), and the radius within which it covers the sample."""
    random = generator(seed, 0, "coreset")
    first = int(random.integers(len(sample)))
    if ratio == 1:
        return sample.mapped(lambda block: block), 0.0
    size = sample.size
    components = projected_size(len(sample))
    if components < size:
        matrix = torch.from_numpy(sparse_projection(size, components, random)).to(sample.device)
        projected = sample.mapped(lambda block: block @ matrix)
    else:
        projected = sample.mapped(lambda block: block)
    projected -= projected.mean(dim=0)
    chosen = greedy_k_center(projected, max(1, int(len(sample) * ratio)), first=first)
    return sample.take(chosen.indices), chosen.radius
