"""The quick JSON of an entry is the one by which stores of older programs know it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from pipelines.entries.canonical import as_json
from pipelines.entries.entries import described
from pipelines.readers.base import Item

TEXTS = st.none() | st.text(st.characters()) | st.sampled_from(["", '"\\\n', "\ud800", "ä\U0001f600", "s3://b/x/a.txt"])
NAMES = st.text() | st.sampled_from(["s3://b/x/a.wav", "/data/a.wav", "s3://b/y"])
NUMBERS = st.none() | st.integers()
ITEMS = st.builds(
    Item,
    utterance_id=NAMES,
    dataset=NAMES,
    uri=st.none() | NAMES,
    size=NUMBERS,
    stamp=TEXTS,
    offset_samples=st.integers(),
    num_samples=NUMBERS,
    split=TEXTS,
    task=st.sampled_from(["asr", "tts", "sqa"]),
    language=TEXTS,
    speaker_id=TEXTS,
    text=TEXTS,
    dialogue_id=TEXTS,
    turn=NUMBERS,
    place=st.none() | st.integers(0, 9),
    role=TEXTS,
    native=st.booleans(),
    channel=st.none() | st.just("each") | st.integers(0, 3),
    licence=TEXTS,
    attribution=TEXTS,
    consent=TEXTS,
    source_url=TEXTS,
    text_file=TEXTS,
    text_stamp=TEXTS,
)


@given(ITEMS, st.sampled_from([None, "s3://b/x", "/data"]))
def test_quick_json_is_that_of_what_a_source_says(item: Item, root: str | None) -> None:
    assert as_json(item, root) == json.dumps(described(item, root), sort_keys=True)


def test_every_attribute_of_an_entry_is_in_the_json() -> None:
    """An attribute that is added to the class later must be added here too, or its news would pass unseen."""
    values = {name: f"<{name}>" for name in Item.__dataclass_fields__}
    told = json.loads(as_json(Item(**{**values, "offset_samples": 1, "num_samples": 2, "turn": 3, "place": 4}), None))  # pyright: ignore[reportArgumentType]
    assert {*Item.__dataclass_fields__} - {*told} == {"size", "stamp"}
