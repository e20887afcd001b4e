from typing import Any

import pytest

from pipelines.readers.rows.channels import get_channel


@pytest.mark.parametrize(
    ("value", "channel"),
    [
        *((0, 0), ("1", 1), (1.0, 1), ("1.0", 1), ([1], 1), (31, 31)),
        *(("left", 0), ("Right", 1), (" B ", 1), ("a", 0)),
        *((None, None), ("", None), (float("nan"), None), ("TED talks", None), ("BBC", None)),
    ],
)
def test_the_channel_of_a_row(value: Any, channel: int | None) -> None:
    for name in ("channel", "Channel", "chan"):
        assert get_channel({"audio": "a.wav", name: value}) == channel


@pytest.mark.parametrize("value", [-1, 0.5, "1.5", [0, 1], [], 1_000, 1e9])
def test_a_number_or_list_that_is_not_one_channel(value: Any) -> None:
    with pytest.raises(ValueError, match=r"field 'channel' is .*, not one channel"):
        get_channel({"channel": value})
