"""Cut utterances into files of about half an hour, which are the work units of the steps after `ingest`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import TypeVar

from pipelines.entries.roots import Roots, absolute, is_relative
from pipelines.readers.base import digest16
from pipelines.readers.parquet_audio import RowGroupPart, is_parquet_uri, row_group_part
from pipelines.records import Borders, UtteranceRow
from unitlang.frames import SAMPLE_RATE
from unitlang.grouping import grouped_by_content, joined

T = TypeVar("T")


def cut(
    rows: Iterable[UtteranceRow],
    minutes: float,
    borders: Borders | None = None,
    roots: Roots = MappingProxyType({}),
) -> Iterator[list[UtteranceRow]]:
    """Yield groups of consecutive rows with at most `minutes` of audio.

    A longer dialogue, utterance or, with borders by content, part of a row group of Parquet is one group.

    Args:
        rows: the utterances.
        minutes: most audio in a group.
        borders: as in `StepStatistics`.
        roots: roots of the datasets, which URIs start from.
    """
    limit = int(minutes * 60 * SAMPLE_RATE)
    if borders is None:
        return _filled(rows, limit)
    parts = row_groups(dialogues(rows), partial(_part, roots), _num_samples, limit)
    whole = (list(chain(*part)) for part in parts)
    return (list(chain(*group)) for group in grouped_by_content(whole, _num_samples, _mark, limit))


def row_groups(
    items: Iterable[T], part: Callable[[T], RowGroupPart | None], size: Callable[[T], float], most: float
) -> Iterator[list[T]]:
    """Yield the items of each row group of Parquet as one list, or of each half of a larger one; others alone.

    Args:
        items: in the order of their source.
        part: part of a row group that an item lies in.
        size: size of an item.
        most: size of the largest row group that stays whole.
    """
    for of_group in joined(items, lambda item: (found := part(item)) and found[:2]):
        is_whole = len(of_group) == 1 or sum(map(size, of_group)) <= most
        yield from [of_group] if is_whole else joined(of_group, part)


def _part(roots: Roots, dialogue: Sequence[UtteranceRow]) -> RowGroupPart | None:
    """The part of a row group of Parquet that the audio of a dialogue begins in."""
    uri, dataset = (dialogue[0]["audio"] or {}).get("uri"), dialogue[0]["dataset"]
    if uri is None or not is_parquet_uri(uri) or (is_relative(uri) and dataset not in roots):
        return None
    return row_group_part(absolute(uri, roots.get(dataset), dataset))


def _num_samples(dialogue: Sequence[UtteranceRow]) -> int:
    return sum(row["num_samples"] for row in dialogue)


def _mark(dialogue: Sequence[UtteranceRow]) -> bytes:
    """Digest by which a dialogue may be the last of its file; it does not depend on what is said about it."""
    return digest16(dialogue[0]["utterance_id"])


def _filled(rows: Iterable[UtteranceRow], limit: int) -> Iterator[list[UtteranceRow]]:
    """Yield groups of which each is filled in turn."""
    group: list[UtteranceRow] = []
    samples = 0
    for dialogue in dialogues(rows):
        length = _num_samples(dialogue)
        if group and samples + length > limit:
            yield group
            group, samples = [], 0
        group += dialogue
        samples += length
    if group:
        yield group


def dialogues(rows: Iterable[UtteranceRow]) -> Iterator[list[UtteranceRow]]:
    """Yield the consecutive turns of each dialogue as one list, and each single utterance as a list of one."""
    current: list[UtteranceRow] = []
    for row in rows:
        if current and (not same_dialogue(row, current[-1])):
            yield current
            current = []
        current.append(row)
    if current:
        yield current


def same_dialogue(row: UtteranceRow, other: UtteranceRow) -> bool:
    """Return whether two rows are turns of one dialogue; dialogue ids are unique only within a dataset."""
    return row["dialogue_id"] is not None and all(row[name] == other[name] for name in ("dataset", "dialogue_id"))
