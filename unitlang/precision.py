"""Full float32 precision for matrix products and convolutions, whatever the program has allowed torch elsewhere."""

from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock


class _Settings:
    """Torch's settings, which are the process's: the first of several threads sets them, the last restores them."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.users = 0
        self.matrices, self.convolutions = "highest", False

    def enter(self) -> None:
        import torch

        with self.lock:
            if not self.users:
                self.matrices = torch.get_float32_matmul_precision()
                self.convolutions = torch.backends.cudnn.allow_tf32
                torch.set_float32_matmul_precision("highest")
                torch.backends.cudnn.allow_tf32 = False
            self.users += 1

    def leave(self) -> None:
        import torch

        with self.lock:
            self.users -= 1
            if not self.users:
                torch.set_float32_matmul_precision(self.matrices)
                torch.backends.cudnn.allow_tf32 = self.convolutions


_SETTINGS = _Settings()


@contextmanager
def full_precision() -> Generator[None]:
    """Keep torch from using TF32 or bf16 for products and convolutions of float32; both would change units.

    Several threads may be inside at once. Unlike matrix products, cuDNN's convolutions use TF32 unless it is forbidden.
    """
    _SETTINGS.enter()
    try:
        yield
    finally:
        _SETTINGS.leave()
