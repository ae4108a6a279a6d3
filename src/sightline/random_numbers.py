"""Random numbers that are functions of names, so that nothing depends on what was drawn before."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """The random numbers of one thing, such as a sample's id, in one epoch; the same everywhere."""
    text = f"{seed}/{epoch}/{name}".encode()
    key = int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
