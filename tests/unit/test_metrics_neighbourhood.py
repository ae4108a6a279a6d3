from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.metrics.neighbourhood import TEMPERATURE, neighbourhood_loss


def slow(queries: Any, gallery: Any, asked: Any, shown: Any, codes: Any) -> float:
    losses = []
    for q, query in enumerate(queries):
        own = whole = 0.0
        for g, other in enumerate(gallery):
            if codes is not None and codes[0][q] == codes[1][g]:
                continue
            cosine = sum(float(a) * float(b) for a, b in zip(query, other, strict=True))
            whole += math.exp(cosine / TEMPERATURE)
            own += math.exp(cosine / TEMPERATURE) * (asked[q] == shown[g])
        if own:
            losses.append(-math.log(own / whole))
    return sum(losses) / len(losses) if losses else math.nan


@pytest.mark.parametrize("excluding", [False, True])
@given(seed=st.integers(0, 2**30))
@settings(max_examples=20, deadline=None)
def test_agrees_with_the_definition(excluding: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    queries, gallery = random.normal(size=(6, 4)), random.normal(size=(9, 4))
    queries, gallery = (
        (one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float32)
        for one in (queries, gallery)
    )
    asked, shown = random.integers(4, size=6), random.integers(3, size=9)
    codes = (random.integers(5, size=6), random.integers(5, size=9)) if excluding else None
    loss = neighbourhood_loss(
        queries, gallery, query_labels=asked, gallery_labels=shown, exclude=codes
    )
    assert loss == pytest.approx(slow(queries, gallery, asked, shown, codes), rel=1e-4, nan_ok=True)


def test_without_any_own_class_there_is_no_loss() -> None:
    one = np.eye(2, dtype=np.float32)
    loss = neighbourhood_loss(
        one, one, query_labels=np.array([0, 1]), gallery_labels=np.array([2, 3])
    )
    assert math.isnan(loss)
