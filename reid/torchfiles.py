"""The first name of `reid.runtime.torchfiles`, for code that was written for it."""

from reid.runtime.torchfiles import read_torch, write_torch

__all__ = ["read_torch", "write_torch"]
