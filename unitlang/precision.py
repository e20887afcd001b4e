"""Full float32 precision for matrix products, whatever the program has allowed torch elsewhere."""

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def full_precision() -> Generator[None]:
    """Keep torch from using TF32 or bf16 for products of float32; both would change units."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
