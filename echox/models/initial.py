"""Weights as a module had them before it was trained further, to run it again as it was."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from echox.weights.filling import plain_name


class InitialWeights:
    """Weights of an earlier run, each kept once in the precision of its file, on the device of the module."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """Keep weights by the names of the parameters whose place they take."""
        self._tensors = tensors

    @classmethod
    def read(cls, path: Path, names: Iterable[str], prefix: str) -> "InitialWeights":
        """Read some of the weights in a file of safetensors, whose names there begin with `prefix`."""
        with safe_open(path, framework="pt") as file:
            return cls({name: file.get_tensor(prefix + name) for name in names})

    @property
    def num_bytes(self) -> int:
        """Memory that they take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors.values())

    @contextmanager
    def inside(self, module: nn.Module) -> Generator[None]:
        """Put the weights into the module, and give it its own back at the end.

        Nothing may be differentiated in between. Under FSDP, the parameters must be gathered.
        """
        parameters = {plain_name(name): parameter for name, parameter in module.named_parameters()}
        own = {name: parameters[name].data for name in self._tensors}
        try:
            for name in own:
                self._tensors[name] = self._tensors[name].to(own[name].device)
                parameters[name].data = self._tensors[name].to(own[name].dtype)
            torch.clear_autocast_cache()  # it knows parameters by themselves, not by their values
            yield
        finally:
            for name, data in own.items():
                parameters[name].data = data
            torch.clear_autocast_cache()
