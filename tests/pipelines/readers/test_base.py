from dataclasses import replace

from pipelines.readers import Item

ITEM = Item(utterance_id="d/a", dataset="d", uri="/a.wav", size=5, offset_samples=8_000, num_samples=16_000, text="x")


def test_the_key_of_an_item_is_the_one_that_stores_hold() -> None:
    assert ITEM.key().hex() == "e7ff3e81328864002abadf1c0a8f2c7e"


def test_every_attribute_counts_in_the_key() -> None:
    others = [replace(ITEM, native=True), replace(ITEM, text=None), replace(ITEM, role="user"), ITEM]
    assert len({item.key() for item in others}) == 4


def test_an_attribute_that_was_added_is_left_out_at_its_default_only() -> None:
    assert "native" not in ITEM.stated()
    assert replace(ITEM, native=True).stated()["native"] is True
