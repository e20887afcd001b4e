"""Matrix products of the models: on a CPU numpy's, elsewhere torch's.

numpy's wheels come with OpenBLAS, torch's with MKL, of which AMD processors get a sixth to a fifth less in float32
(`benchmarks/extraction.py` prints both).
"""

# Shapes: L = rows, I = inputs, O = outputs.

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import numpy as np
import torch
from torch import Tensor


def product(x_LI: Tensor, weight_IO: Tensor) -> Tensor:
    """`x_LI` times `weight_IO`; rows may lie apart. On a CPU in float32 no gradient goes through."""
    if x_LI.device.type == "cpu" and x_LI.dtype == torch.float32:
        return torch.from_numpy(np.matmul(x_LI.numpy(), weight_IO.numpy()))
    return torch.mm(x_LI, weight_IO)
