"""A source's statements about an entry as JSON, quickly: a night makes it for each of millions of entries.

The text is that of `json.dumps(described(item, root), sort_keys=True)`; what many entries have in common is made once.
"""

import json
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from operator import attrgetter

from pipelines.entries.roots import relative
from pipelines.readers.base import Item

KEPT = 4096
"""Texts of what entries have in common that are kept."""
FIRST = ("attribution", "channel", "consent", "dataset", "dialogue_id", "language", "licence", "native")
"""Attributes before `num_samples` in alphabetical order."""
MIDDLE = ("source_url", "speaker_id", "split", "task")
"""Attributes between `role` and `text`."""
ADDED = {"attribution": None, "channel": None, "consent": None, "licence": None, "native": False, "source_url": None}
"""Attributes of these that are not stated at their default."""
_first, _middle = attrgetter(*FIRST), attrgetter(*MIDDLE)


def as_json(item: Item, root: str | None) -> str:
    """An entry as `pipelines.entries.entries.described`, as JSON.

    Args:
        item: the entry.
        root: of its dataset.
    """
    file = "" if item.text_file is None else f'"text_file": {_text(relative(item.text_file, root))}, '
    stamp = "" if item.text_stamp is None else f'"text_stamp": {_text(item.text_stamp)}, '
    place = "" if item.place is None else f'"place": {item.place}, '
    uri = None if item.uri is None else relative(item.uri, root)
    return (
        f'{{{_shared(FIRST, _first(item))}, "num_samples": {_number(item.num_samples)}, '
        f'"offset_samples": {_number(item.offset_samples)}, {place}"role": {_text(item.role)}, '
        f'{_shared(MIDDLE, _middle(item))}, "text": {_text(item.text)}, {file}{stamp}'
        f'"turn": {_number(item.turn)}, "uri": {_text(uri)}, "utterance_id": {_text(item.utterance_id)}}}'
    )


@lru_cache(KEPT)
def _shared(names: tuple[str, ...], values: tuple[object, ...]) -> str:
    pairs = zip(names, values, strict=True)
    stated = {name: value for name, value in pairs if name not in ADDED or value != ADDED[name]}
    return json.dumps(stated, sort_keys=True)[1:-1]


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


def _number(value: int | None) -> str:
    return "null" if value is None else repr(value)
