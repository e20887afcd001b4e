"""Texts that lie in files of their own in a bucket: read where the audio is read, and only if their listing changed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from pipelines.entries.roots import Roots, absolute
from pipelines.readers.base import BadItem, Item
from pipelines.readers.lines import fetch_text, unusable_text
from pipelines.readers.places import AbsentFileError, Place
from pipelines.reading import read_ahead

Texts = Mapping[bytes, Item | BadItem]
"""Entries with their texts, or why these cannot be used, by the keys of the entries."""


def with_text(item: Item, root: str | None = None) -> Item | BadItem:
    """The entry with the text of its file, as a program describes it that reads the text with the listing.

    Args:
        item: the entry.
        root: of its dataset, if the path of the text starts from there.

    Raises:
        UserError: the file cannot be read.
        Unreachable: its server does not answer.
    """
    if item.text_file is None:
        return item
    try:
        text = fetch_text(Place.of(absolute(item.text_file, root, item.dataset)))
    except AbsentFileError:
        return _unusable(item, ValueError("the file is gone"))
    except ValueError as error:
        return _unusable(item, error)
    return replace(item, text=text or None, text_file=None, text_stamp=None)


def _unusable(item: Item, error: ValueError) -> BadItem:
    reason, message = unusable_text(error)
    return BadItem(
        source=str(item.text_file),
        dataset=item.dataset,
        reason=reason,
        message=message,
        utterance_id=item.utterance_id,
        dialogue_id=item.dialogue_id,
    )


def read_texts(items: Iterable[tuple[bytes, Item]], roots: Roots) -> Texts:
    """Read the texts of entries side by side.

    Args:
        items: keys and entries; those whose text is known are passed over.
        roots: roots of the datasets.

    Raises:
        UserError, Unreachable: as `with_text`.
    """
    wanted = [(key, item) for key, item in items if item.text_file is not None]
    jobs = (partial(with_text, item, roots.get(item.dataset)) for _, item in wanted)
    return {key: found for (key, _), found in zip(wanted, read_ahead(jobs), strict=True)}
