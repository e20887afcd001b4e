"""Operations that would make the host wait for a GPU, counted on the CPU."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::is_nonzero"}
"""Their results, or the sizes of these, must be on the host."""
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_"}
"""They wait where an index is a mask."""


class _Operations(TorchDispatchMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masks = (
            [index for index in args[1] if isinstance(index, Tensor) and index.dtype == torch.bool]
            if (name in INDEXING)
            else []
        )
        if name in WAITING or masks:
            self._found[name] += 1
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    """Lists of values are read from the memory of a CPU without an operation."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.tolist:
            self._found["tolist"] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def synchronisations() -> Generator[Counter[str]]:
    """Count, by operation, what makes the host wait."""
    found: Counter[str] = Counter()
    with _Functions(found), _Operations(found):
        yield found
