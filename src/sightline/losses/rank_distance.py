"""Losses that keep the distances and neighbour ranks of vectors when these are compressed.

N D d are batch, width of the vectors x, and width of their codes z. Of each row of the distance
tables only the N-1 others are ranked, never the row itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sightline.losses.neighbour_divergence import neighbour_divergence
from sightline.losses.rank_geometry import (
    cosine_distances,
    euclidean_distances,
    hard_ranks,
    others,
    row_spread,
)
from sightline.losses.soft_rank import soft_rank

GEOMETRIES = {"euclidean": euclidean_distances, "cosine": cosine_distances}
TAU_SCALES = ("relative", "absolute")
BALANCES = ("none", "auto")


@dataclass(eq=False, repr=False, kw_only=True)
class RankDistanceLoss(nn.Module):
    """λ_r L_rank + λ_p L_pair: how differently x and z order and space the rows of a batch.

    L_pair is the mean of (D_z - D_x)² over the N² entries of the distance tables. L_rank is what
    a subclass says. ValueError for a value that is none of those below.
    """

    k: int = 32
    """Neighbours: a divisor in V1 and V1Norm, the reach of the weights in TopK, else unused."""
    lambda_rank: float = 1.0
    """λ_r, 0 or more."""
    lambda_pairdist: float = 0.0
    """λ_p, 0 or more; at 0 L_pair is not computed and reported as 0."""
    tau: float = 1.0
    """Temperature of soft ranks, above 0; unused in V1 and V1Norm."""
    tau_scale: str = "relative"
    """`relative`: tau is in units of the standard deviation of each row's distances, in x and in z
    of its own rows, with its gradient. Ranks do not depend on scale, and so neither do the soft
    ones: the rank term never pulls the length of the codes, which is for L_pair alone to fix.
    `absolute`: tau is a distance, the same in x and z, as in the original."""
    geometry: str = "euclidean"
    """`euclidean`, or `cosine` for 1 - cos."""
    balance: str = "none"
    """`auto` multiplies L_pair, for each batch and without gradient, by the ratio of the lengths
    of the gradients of L_rank and L_pair by z; their weighted gradients then stand as λ_r to λ_p.
    It takes two more backward passes through the tables. `none` leaves the terms as they are."""

    def __post_init__(self) -> None:
        super().__init__()
        for name, value, known in (
            ("tau_scale", self.tau_scale, TAU_SCALES),
            ("geometry", self.geometry, tuple(GEOMETRIES)),
            ("balance", self.balance, BALANCES),
        ):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}; got {value!r}")
        for name in ("lambda_rank", "lambda_pairdist"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is 0 or more; got {getattr(self, name)}")
        if not (self.k >= 1 and self.tau > 0):
            raise ValueError(f"k is at least 1 and tau above 0; got {self.k} and {self.tau}")

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The total, L_rank and L_pair of the vectors (N, D) and codes (N, d), float32 scalars.

        Only z gets a gradient. L_pair comes as it is, before any balance. Zero, with zero
        gradients, for fewer than two rows. In float32 whatever autocast says. ValueError where x
        and z are not tables of as many rows.
        """
        if x.dim() != 2 or z.dim() != 2 or len(x) != len(z):
            raise ValueError(f"x (N, D) and z (N, d); got {tuple(x.shape)} and {tuple(z.shape)}")
        with torch.autocast(z.device.type, enabled=False):
            if len(z) < 2:
                nothing = z.float().sum() * 0.0
                return nothing, nothing, nothing
            if self.balance == "auto" and self.lambda_pairdist > 0:
                return self._balanced(x, z)
            rank, pair = self._terms(x, z)
            return self.lambda_rank * rank + self.lambda_pairdist * pair, rank, pair

    def _balanced(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wanted = torch.is_grad_enabled() and z.requires_grad
        # Gradients are needed where none are wanted too, or validation would weigh differently.
        with torch.inference_mode(mode=False), torch.enable_grad():
            codes = z.float() if wanted else z.detach().float().clone().requires_grad_()
            rank, pair = self._terms(x, codes)
            lengths = [
                torch.autograd.grad(term, codes, retain_graph=True)[0].norm()
                for term in (rank, pair)
            ]
            scale = torch.where(lengths[1] > 0, lengths[0] / lengths[1], 1.0)
            total = self.lambda_rank * rank + self.lambda_pairdist * scale * pair
        if wanted:
            return total, rank, pair
        return total.detach(), rank.detach(), pair.detach()

    def _terms(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        apart = GEOMETRIES[self.geometry]
        with torch.no_grad():
            rows_x = others(apart(x))
        rows_z = others(apart(z))
        rank = self._rank_term(rows_x, rows_z)
        if self.lambda_pairdist > 0:
            return rank, (rows_z - rows_x).square().sum() / len(z) ** 2
        return rank, torch.zeros((), device=z.device)

    def _rank_term(self, rows_x: Tensor, rows_z: Tensor) -> Tensor:
        raise NotImplementedError

    def _soft_ranks(self, rows: Tensor) -> Tensor:
        if self.tau_scale == "relative":
            rows = rows / row_spread(rows)
        return soft_rank(rows, self.tau)


class DPLossV1(RankDistanceLoss):
    """L_rank = Σ |R_x - R_z| / (k N²), of hard ranks R, the row itself 0.

    Hard ranks have no gradient: this L_rank trains nothing. It is a number for the log, and what
    is trained is L_pair alone; so `lambda_pairdist` 0 is a ValueError, and `balance: auto` too.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.lambda_pairdist == 0:
            raise ValueError(
                f"{name} with lambda_pairdist 0 trains nothing: hard ranks have no gradient, only "
                "the pair term has; set lambda_pairdist above 0, or take DPLossV2"
            )
        if self.balance == "auto":
            raise ValueError(
                f"{name} cannot be balanced: hard ranks have no gradient; set balance to none"
            )

    def _rank_term(self, rows_x: Tensor, rows_z: Tensor) -> Tensor:
        # A row's rank of itself is 0 in both tables, so it adds nothing but its place in N².
        wrong = (hard_ranks(rows_x) - hard_ranks(rows_z)).abs().sum()
        return wrong / (self.k * len(rows_x) ** 2)


class DPLossV1Norm(DPLossV1):
    """As V1 with the ranks divided by N-1; just as much without gradient."""

    def _rank_term(self, rows_x: Tensor, rows_z: Tensor) -> Tensor:
        return super()._rank_term(rows_x, rows_z) / rows_x.shape[1]


class DPLossV2(RankDistanceLoss):
    """L_rank = mean (S_z - S_x)² over the N (N-1) soft ranks S of others, `soft_rank`."""

    def _rank_term(self, rows_x: Tensor, rows_z: Tensor) -> Tensor:
        return (self._soft_ranks(rows_z) - self._soft_ranks(rows_x)).square().mean()


class DPLossV2Norm(DPLossV2):
    """As V2 of (S - 1) / (N - 1), which lies between 0 and (N-2) / (N-1)."""

    def _rank_term(self, rows_x: Tensor, rows_z: Tensor) -> Tensor:
        return super()._rank_term(rows_x, rows_z) / rows_x.shape[1] ** 2


class DPLossTopK(RankDistanceLoss):
    """L_rank = mean over rows of Σ_j w_j (S_z - S_x)², where w is large for the about k nearest.

    w_j = ½ (v(R_x) + v(R_z)) with v(R) = exp(-(R-1) / k) / Σ_R exp(-(R-1) / k) of hard ranks R. One
    half holds neighbours of x that z lets go (continuity), the other intruders that z lets in
    (trustworthiness; both as in Venna and Kaski, "Local multidimensional scaling", 2006). The
    weights of a row sum to 1 and get no gradient.
    """

    def _rank_term(self, rows_x: Tensor, rows_z: Tensor) -> Tensor:
        near = torch.exp((1.0 - hard_ranks(rows_x)) / self.k)
        near += torch.exp((1.0 - hard_ranks(rows_z)) / self.k)
        weights = near / near.sum(1, keepdim=True)
        wrong = (self._soft_ranks(rows_z) - self._soft_ranks(rows_x)).square()
        return (weights * wrong).sum(1).mean()


class DPLossNeighbours(RankDistanceLoss):
    """L_rank = the divergence of neighbourhoods, `neighbour_divergence`: who is near whom.

    `tau` is how wide a neighbourhood is, in units of the distance to the k nearest; `tau_scale` is
    not used. Unlike the ranks it depends on scale: codes keep the length of the vectors.
    """

    def _rank_term(self, rows_x: Tensor, rows_z: Tensor) -> Tensor:
        return neighbour_divergence(rows_x, rows_z, k=self.k, tau=self.tau)


LOSSES: dict[str, type[RankDistanceLoss]] = {
    one.__name__: one
    for one in (
        DPLossNeighbours,
        DPLossTopK,
        DPLossV1,
        DPLossV1Norm,
        DPLossV2,
        DPLossV2Norm,
    )
}
"""The losses by the names of the configuration."""
