"""Sequences of unequal length, put together and cut."""

import torch

from echox.models.ragged import Ragged, concatenate


def lists(ragged: Ragged) -> list[list[int]]:
    return [row.tolist() for row in ragged.rows()]


def test_concatenation_leaves_padding_only_at_the_end() -> None:
    parts = [[[1, 2, 3], [4], []], [[], [5, 6], [7]], [[8], [9, 10], []]]
    joined = concatenate([Ragged.of(part) for part in parts])
    assert lists(joined) == [[1, 2, 3, 8], [4, 5, 6, 9, 10], [7]]
    assert joined.values_BL.shape == (3, 5)


def test_padding_of_a_part_never_shows() -> None:
    first = Ragged(torch.tensor([[1, 99], [2, 3]]), torch.tensor([1, 2]))
    assert lists(concatenate([first, Ragged.of([[4], [5]])])) == [[1, 4], [2, 3, 5]]


def test_embeddings_concatenate_as_ids_do_and_gradients_flow_to_what_is_there() -> None:
    values_BLH = torch.randn(2, 3, 4, requires_grad=True)
    part = Ragged(values_BLH, torch.tensor([3, 1]))
    joined = concatenate([part, part])
    assert torch.equal(joined.rows()[1], torch.cat([values_BLH[1, :1], values_BLH[1, :1]]))
    joined.flat().sum().backward()
    assert values_BLH.grad is not None
    assert values_BLH.grad[:, :, 0].tolist() == [[2, 2, 2], [2, 0, 0]]


def test_cut_append_select() -> None:
    ragged = Ragged.of([[1, 2, 3, 4], [5, 6]])
    assert lists(ragged.cut(torch.tensor([1, 0]), torch.tensor([3, 1]))) == [[2, 3, 4], [5]]
    assert lists(ragged.append(9)) == [[1, 2, 3, 4, 9], [5, 6, 9]]
    assert lists(ragged.select(torch.tensor([1, 0, 1]))) == [[5, 6], [1, 2, 3, 4], [5, 6]]
    assert ragged.flat().tolist() == [1, 2, 3, 4, 5, 6]


def test_nothing_at_all() -> None:
    empty = Ragged.of([[], []])
    assert lists(concatenate([empty, empty])) == [[], []]
    assert lists(empty.append(1)) == [[1], [1]]
