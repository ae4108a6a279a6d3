"""Heads: what turns embeddings (B, D) into logits (B, C)."""

from __future__ import annotations

from torch import nn


class LinearHead(nn.Linear):
    """One linear layer that starts near zero: weights N(0, 0.02²) cut at ±2, biases 0.

    A small start keeps the first predictions near uniform, so the first gradients into pretrained
    features stay small.
    """

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
