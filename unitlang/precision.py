"""Matrix products of float32 in float32, whatever a program has allowed torch elsewhere."""

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def full_precision() -> Generator[None]:
    """Within it torch uses neither TF32 nor bf16 for products of float32; both would change units."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
