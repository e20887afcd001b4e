"""Matrix products of the models: by numpy on a CPU, by torch elsewhere.

numpy's wheels use OpenBLAS, torch's use MKL, which gets a sixth to a fifth less out of AMD processors in float32
(`benchmarks/extraction.py` prints both).
"""

# Shapes: L = rows, I = inputs, O = outputs.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import numpy as np
import torch
from torch import Tensor


def product(x_LI: Tensor, weight_IO: Tensor) -> Tensor:
    """Return `x_LI` times `weight_IO`; rows need not be contiguous. On a CPU in float32 no gradient flows."""
    if x_LI.device.type == "cpu" and x_LI.dtype == torch.float32:
        return torch.from_numpy(np.matmul(x_LI.numpy(), weight_IO.numpy()))
    return torch.mm(x_LI, weight_IO)
