"""Decoders with a cache of keys and values of a fixed size: prefixes in one pass, then position by position."""

# Shapes: B = sequences, A = those that are still in the cache, L = positions of the longest prefix, C = columns of the
# cache, D = hidden size, H = query heads, G = heads of keys and values, E = dimensions of a head.

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from echox.models.ragged import Ragged

if TYPE_CHECKING:
    from fairseq2.models.transformer_lm import TransformerLMDecoder


class CachedDecoder:
    """Runs the layers of a decoder, in evaluation mode and without gradients, on sequences of unequal length.

    Sequences begin in the first column, and each writes behind its own last position. So a prefix attends to nothing
    but itself without a mask, positions are those of training, and no column is a gap.

    Args:
        decoder: a decoder of `make_decoder`.
        project: applied to the inputs first.
    """

    def __init__(self, decoder: "TransformerLMDecoder", project: Callable[[Tensor], Tensor] | None = None) -> None:
        self._layers: list[Any] = list(decoder.layers)
        self._norm: Any = decoder.layer_norm
        self._project = project
        attention = self._layers[0].self_attn
        self._heads: int = attention.num_heads
        self._groups: int = attention.num_key_value_heads
        self._rotations_PE: Tensor = torch.view_as_complex(attention.pos_encoder.freqs)[1:]  # the first is of padding
        self._columns = 0

    def begin(self, prefix: Ragged, room: int) -> Tensor:
        """Compute all positions of the prefixes, (B, L, D), in one pass; return (B, D), the last state of each.

        Args:
            prefix: embeddings, at least one position each.
            room: positions that may follow the longest prefix.
        """
        inputs_BLD = prefix.values_BL if self._project is None else self._project(prefix.values_BL)
        self._columns = inputs_BLD.size(1)
        self._rows_A = torch.arange(len(inputs_BLD), device=inputs_BLD.device)
        self._filled_A = prefix.lengths_B.clone()
        self._rotation = self._rotations_PE[: self._columns, None]
        self._mask = None
        self._cache: list[Tensor] = []
        self._size = self._columns + room
        states_BLD = self._through(inputs_BLD, self._attend_all)
        return states_BLD[self._rows_A, prefix.lengths_B - 1]

    def advance(self, inputs_AD: Tensor) -> Tensor:
        """Return the states (A, D) of one more position of each sequence, from its embeddings (A, D)."""
        inputs_A1D = (inputs_AD if self._project is None else self._project(inputs_AD))[:, None]
        self._columns += 1
        positions_C = torch.arange(self._columns, device=inputs_AD.device)
        self._mask = (positions_C <= self._filled_A[:, None])[:, None, None]
        last = len(self._rotations_PE) - 1  # sequences that have ended may go on beyond it
        self._rotation = self._rotations_PE[self._filled_A.clamp(max=last), None, None]
        states_A1D = self._through(inputs_A1D, self._attend_one)
        self._filled_A = self._filled_A + 1
        return states_A1D[:, 0]

    def keep(self, stay: Tensor) -> None:
        """Drop all sequences but those of these numbers, counted among the ones in the cache."""
        self._cache = [cache_ACFE[stay] for cache_ACFE in self._cache]
        self._filled_A = self._filled_A[stay]
        self._rows_A = self._rows_A[: len(stay)]

    def _through(self, states: Tensor, attend: Callable[[int, Tensor, Tensor], Tensor]) -> Tensor:
        for number, layer in enumerate(self._layers):
            attention = layer.self_attn
            inputs = layer.self_attn_layer_norm(states)
            queries, keys, values = (
                projection(inputs).unflatten(-1, (heads, -1))
                for projection, heads in (
                    (attention.q_proj, self._heads),
                    (attention.k_proj, self._groups),
                    (attention.v_proj, self._groups),
                )
            )
            rotated = self._rotated(torch.cat([queries, keys], -2))
            held = torch.cat([rotated[..., self._heads :, :], values], -2)
            found = attend(number, rotated[..., : self._heads, :], held)
            states = states + attention.output_proj(found.flatten(-2))
            states = states + layer.ffn(layer.ffn_layer_norm(states))
        return self._norm(states)

    def _rotated(self, vectors: Tensor) -> Tensor:
        """Return vectors (..., E) turned by their positions, in float32 as in fairseq2."""
        pairs = torch.view_as_complex(vectors.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * self._rotation).flatten(-2).to(vectors.dtype)

    def _attend_all(self, number: int, queries_BLHE: Tensor, held_BLFE: Tensor) -> Tensor:
        """Attend from all positions of the prefixes to those before; keep keys and values (F = 2 G) of this layer."""
        del number
        batch, length, heads, size = held_BLFE.shape
        cache_BCFE = held_BLFE.new_zeros(batch, self._size, heads, size)
        cache_BCFE[:, :length] = held_BLFE
        self._cache.append(cache_BCFE)
        keys, values = held_BLFE.transpose(1, 2).chunk(2, 1)
        queries = queries_BLHE.transpose(1, 2)
        found = scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
        return found.transpose(1, 2)

    def _attend_one(self, number: int, queries_A1HE: Tensor, held_A1FE: Tensor) -> Tensor:
        """Attend from one position of each sequence; queries of one group count as positions, which spares copies."""
        cache_ACFE = self._cache[number]
        cache_ACFE[self._rows_A, self._filled_A] = held_A1FE[:, 0]
        keys, values = cache_ACFE[:, : self._columns].transpose(1, 2).chunk(2, 1)
        queries = queries_A1HE[:, 0].unflatten(1, (self._groups, -1))
        found_AGQE = scaled_dot_product_attention(queries, keys, values, attn_mask=self._mask)
        return found_AGQE.flatten(1, 2)[:, None]
