"""A prefix in one pass equals the walk from position to position, with fairseq2's own cache and without any."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from echox.models.cached import CachedDecoder
from echox.models.decoder import DecoderConfig, RopeScaling, decode, make_decoder
from echox.models.ragged import Ragged

LENGTHS = (9, 1, 5, 9, 2)
STEPS = 6
GROUPED = DecoderConfig(layers=2, hidden_size=32, heads=4, key_value_heads=2, intermediate_size=48, max_length=64)
CONFIGS = {
    "grouped": GROUPED,
    "scaled": replace(GROUPED, key_value_heads=4, rope_scaling=RopeScaling(factor=8.0)),
    "one": replace(GROUPED, layers=1, key_value_heads=1),
}


@pytest.fixture(params=[*CONFIGS])
def decoder(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(2)
    return make_decoder(CONFIGS[request.param]).eval().requires_grad_(False)


def prefixes() -> Ragged:
    torch.manual_seed(4)
    return Ragged(torch.randn(len(LENGTHS), max(LENGTHS), 32), torch.tensor(LENGTHS))


def following() -> Tensor:
    torch.manual_seed(6)
    return torch.randn(len(LENGTHS), STEPS, 32)


def walked(decoder: Any, row_LD: Tensor) -> Tensor:
    """States (L, D) of one sequence, position by position, with fairseq2's cache."""
    from fairseq2.nn import BatchLayout, IncrementalStateBag

    cache, states = IncrementalStateBag(max_num_steps=64), list[Tensor]()
    for input_D in row_LD:
        inputs_11D = input_D[None, None]
        states.append(decoder(inputs_11D, BatchLayout.of(inputs_11D), state_bag=cache)[0, 0])
        cache.increment_step_nr()
    return torch.stack(states)


def test_one_pass_and_steps_equal_the_walk(decoder: Any) -> None:
    cached, prefix, more = CachedDecoder(decoder), prefixes(), following()
    found = [cached.begin(prefix, STEPS), *(cached.advance(more[:, step]) for step in range(STEPS))]
    for number, row_PD in enumerate(prefix.rows()):
        whole_LD = torch.cat([row_PD, more[number]])
        states = torch.stack([states_BD[number] for states_BD in found])
        wanted = walked(decoder, whole_LD)[len(row_PD) - 1 :]
        torch.testing.assert_close(states, wanted, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(states, decode(decoder, whole_LD[None])[0, len(row_PD) - 1 :], atol=2e-6, rtol=1e-5)


def test_sequences_that_leave_change_nothing_for_those_that_stay(decoder: Any) -> None:
    all_of_them, fewer, more = CachedDecoder(decoder), CachedDecoder(decoder), following()
    for cached in (all_of_them, fewer):
        cached.begin(prefixes(), STEPS)
        cached.advance(more[:, 0])
    stay = torch.tensor([1, 3])
    fewer.keep(stay)
    for step in range(1, STEPS):
        wanted = all_of_them.advance(more[:, step])[stay]
        torch.testing.assert_close(fewer.advance(more[stay, step]), wanted, atol=2e-6, rtol=1e-5)


def test_padding_of_a_prefix_is_never_read(decoder: Any) -> None:
    prefix, more = prefixes(), following()
    noisy = Ragged(torch.where(prefix.mask[..., None], prefix.values_BL, 50.0), prefix.lengths_B)
    states: list[list[Tensor]] = []
    for of in (prefix, noisy):
        cached = CachedDecoder(decoder)
        states.append([cached.begin(of, STEPS), *(cached.advance(more[:, step]) for step in range(STEPS))])
    for clean, found in zip(*states, strict=True):
        assert clean.equal(found)


def test_steps_keep_the_cache_where_it_is(decoder: Any) -> None:
    cached, more = CachedDecoder(decoder), following()
    cached.begin(prefixes(), STEPS)
    places = [cache.data_ptr() for cache in cached._cache]  # pyright: ignore[reportPrivateUsage]
    for step in range(STEPS):
        cached.advance(more[:, step])
    assert [cache.data_ptr() for cache in cached._cache] == places  # pyright: ignore[reportPrivateUsage]
