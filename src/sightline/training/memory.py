"""Telling an error that less memory would have avoided from every other one."""

from __future__ import annotations

import torch

_SIGNS = (
    "out of memory",  # CUDA, MPS and HIP, also where the error is a plain RuntimeError
    "alloc_failed",  # cuBLAS and cuDNN
    "defaultcpuallocator: can't allocate memory",
    "defaultcpuallocator: not enough memory",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that memory was not enough.

    That is torch's own error of an accelerator, the RuntimeError of its CPU allocator, and
    Python's MemoryError, NumPy's among them.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _SIGNS):
            return True
        error = error.__cause__ or error.__context__
    return False
