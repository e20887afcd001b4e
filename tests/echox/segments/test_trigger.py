"""The trigger in cases by hand, and against a few lines of their own."""

import random

import pytest

from echox.segments.trigger import TriggerConfig, cuts, ends_segment

CONFIG = TriggerConfig()


def series(length: int, low: float = 0.0, **peaks: float) -> list[float]:
    """Scores that fall slowly, so that no other is a peak, with peaks by index (`at24=0.5`)."""
    scores = [low - 0.001 * index for index in range(length)]
    for name, score in peaks.items():
        scores[int(name.removeprefix("at"))] = score
    return scores


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([0.9] * 5, [], id="fewer than six scores"),
        pytest.param(series(40, at19=0.5), [], id="19 tokens before a peak"),
        pytest.param(series(40, at20=0.5), [20], id="20 tokens before a peak"),
        pytest.param(series(40, at20=0.1), [], id="a peak of exactly 0.1"),
        pytest.param(series(40, at20=0.1000001), [20], id="a peak just above 0.1"),
        pytest.param(series(70, at49=0.05), [], id="49 tokens before a low peak"),
        pytest.param(series(70, at50=0.05), [50], id="50 tokens before a low peak"),
        pytest.param(series(70, low=-0.3, at50=-0.2), [50], id="a negative peak"),
        pytest.param(series(40, at25=0.5, at26=0.5, at27=0.5), [25], id="a plateau is cut where it begins"),
        pytest.param(series(40, at24=0.6, at29=0.5), [24], id="a higher score five tokens before is no rival"),
        pytest.param(series(40, at18=0.6, at23=0.5), [], id="a higher score five tokens before is one"),
        pytest.param(series(40, at18=0.6, at24=0.5), [24], id="a higher score six tokens before is none"),
        pytest.param(series(25, at20=0.5), [], id="the end comes before the peak can be judged"),
        pytest.param(series(26, at20=0.5), [20], id="the peak is judged with the last token"),
        pytest.param(series(60, at20=0.5, at40=0.5), [20], id="distances count from the segment's first token"),
        pytest.param(series(60, at20=0.5, at41=0.5), [20, 41], id="two segments"),
    ],
)
def test_cases_by_hand(scores: list[float], expected: list[int]) -> None:
    assert cuts(scores, CONFIG) == expected


def test_when_an_answer_ends_right_behind_a_cut_nothing_is_left() -> None:
    config = TriggerConfig(lookahead=1, window=1, early=2, late=4, longest=5)
    assert cuts([0.0, 0.0, 0.5, 0.0], config) == [2], "one token is left, which a lookahead of one cannot avoid"
    scores = [0.5 - 0.1 * index for index in range(7)]
    assert cuts(scores, config) == [4]
    assert len(scores) - 1 - cuts(scores, config)[-1] == 2


def test_a_segment_without_a_peak_ends_at_the_longest() -> None:
    falling = series(500)
    assert cuts(falling, CONFIG) == [199, 399]
    assert cuts(falling, TriggerConfig(longest=None)) == []


def plainly(scores: list[float], longest: int | None) -> list[int]:
    """The rule of the released code, read again: look five tokens back at each step."""
    found, start = [], 0
    for step in range(len(scores)):
        at = step - 5
        if at < start:
            continue
        around = [scores[i] for i in range(at - 5, at + 6) if 0 <= i <= step]
        peak = scores[at] == max(around)
        due = at - start >= 50 or (scores[at] > 0.1 and at - start >= 20)
        if (peak and due) or (longest and at - start + 1 == longest):
            found.append(at)
            start = at + 1
    return found


def test_a_thousand_random_series() -> None:
    """Scores in steps of 0.05, so that ties and exactly 0.1 are frequent."""
    draw = random.Random(0)
    early = late = capped = 0
    for number in range(1000):
        high = draw.choice([0.05, 0.1, 0.3])
        scores = [round(draw.uniform(-0.3, high) * 20) / 20 for _ in range(draw.randrange(300))]
        if number % 4 == 0:
            scores.sort(reverse=True)
        longest = draw.choice([None, 60, 200])
        found = cuts(scores, TriggerConfig(longest=longest))
        assert found == plainly(scores, longest)
        lengths = [end - start for start, end in zip([-1, *found], found, strict=False)]
        early += sum(21 <= length < 51 for length in lengths)
        late += sum(length >= 51 for length in lengths)
        capped += lengths.count(longest or 0)
    assert min(early, late) > 1000
    assert capped > 20


def test_streaming_cuts_where_the_whole_answer_is_cut() -> None:
    draw = random.Random(1)
    scores = [draw.uniform(-0.2, 0.4) for _ in range(300)]
    start, found = 0, list[int]()
    heard: list[float] = []
    for score in scores:
        heard.append(score)
        if ends_segment(heard, start, CONFIG):
            found.append(len(heard) - 1 - CONFIG.lookahead)
            start = found[-1] + 1
    assert found == cuts(scores, CONFIG)
    assert len(found) > 3


@pytest.mark.parametrize(("fields", "message"), [({"late": 10}, "less than early"), ({"longest": 50}, "not more than")])
def test_numbers_that_contradict_each_other_are_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TriggerConfig(**fields)
