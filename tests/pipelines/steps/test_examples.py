import random
from typing import Any

import pytest

from pipelines.steps.examples import Example, ExamplesConfig, StagesConfig, Turn, examples, history, unused_reasons

RATE = 16_000
WORDS = [3, 1, 2]
DEFAULT = ExamplesConfig()
Task = str


def turn(
    name: str,
    task: Task = "asr",
    *,
    text: str | None = "hello",
    role: str | None = None,
    seconds: float = 2.0,
    audio: bool = True,
    words: bool = True,
    number: int | None = None,
) -> Turn:
    row: dict[str, Any] = {
        "utterance_id": name,
        "dataset": "d",
        "split": "train",
        "task": task,
        "role": role,
        "turn": number,
        "text": text,
        "num_samples": int(seconds * RATE) if audio else 0,
        "audio": {"uri": f"/{name}.wav", "bytes": None} if audio else None,
    }
    spoken = audio and words
    return Turn(row, WORDS if spoken else None, 99 if spoken else 0)


def question(name: str = "q", **values: Any) -> Turn:
    return turn(name, "sqa", role="user", **{"text": f"{name}?", **values})


def answer(name: str = "a", **values: Any) -> Turn:
    return turn(name, "sqa", role="assistant", **{"text": f"{name}.", **values})


def made(*turns: Turn, config: ExamplesConfig = DEFAULT) -> dict[str, list[Example]]:
    """Examples by stage."""
    found: dict[str, list[Example]] = {}
    for example in examples(turns, config):
        found.setdefault(example.stage, []).append(example)
    return found


def unused(*turns: Turn, config: ExamplesConfig = DEFAULT) -> dict[str, str]:
    """Reason by id of the utterances in no example."""
    used = {name for example in examples(turns, config) for name in example.used}
    return unused_reasons(turns, used, config)


def test_speech_and_its_transcript() -> None:
    spoken = turn("x")
    found = made(spoken)
    assert list(found) == ["s2t"]
    (example,) = found["s2t"]
    assert example.heard is spoken.row
    assert set(example.used) == {"x"}
    assert example.values == {
        "example_id": "x",
        "dataset": "d",
        "split": "train",
        "num_samples": 2 * RATE,
        "prompt": "Transcribe the speech.",
        "transcript": "hello",
        "response": "hello",
    }


def test_a_text_and_its_reading() -> None:
    found = made(turn("x", "tts"))
    assert list(found) == ["t2c"]
    (example,) = found["t2c"]
    assert example.heard is None
    assert example.values == {
        "example_id": "x",
        "dataset": "d",
        "split": "train",
        "text": "hello",
        "words": WORDS,
        "num_frames": 99,
    }


def test_a_spoken_dialogue_feeds_all_stages() -> None:
    asked, said = question(), answer()
    found = made(asked, said)
    assert {stage: len(examples) for stage, examples in found.items()} == {"s2t": 1, "t2c": 1, "echo": 1}
    listened, echo, spoken = found["s2t"][0], found["echo"][0], found["t2c"][0]
    assert listened.values == {
        "example_id": "q",
        "dataset": "d",
        "split": "train",
        "num_samples": 2 * RATE,
        "prompt": "",
        "transcript": "q?",
        "response": "a.",
    }
    assert echo.values == listened.values | {"words": WORDS}
    assert listened.heard is echo.heard is asked.row
    assert listened.used == echo.used == ("q", "a")
    assert (spoken.values["example_id"], spoken.values["text"]) == ("a", "a.")


def test_later_questions_have_the_dialogue_so_far_as_prompt() -> None:
    turns = (question("q1"), answer("a1"), question("q2", text=None), answer("a2"), question("q3"), answer("a3"))
    prompts = {example.values["example_id"]: example.values["prompt"] for example in made(*turns)["echo"]}
    assert prompts == {
        "q1": "",
        "q2": "user: q1?\nassistant: a1.",
        "q3": "user: q1?\nassistant: a1.\nuser: \nassistant: a2.",
    }
    assert history(()) == ""
    assert unused(*turns) == {}


def test_a_written_answer_trains_listening_only() -> None:
    found = made(question(), answer(audio=False))
    assert list(found) == ["s2t"]
    assert unused(question(), answer(audio=False)) == {}


def test_a_rejected_answer_is_still_the_text_of_an_answer() -> None:
    turns = (question(), answer(words=False))
    assert list(made(*turns)) == ["s2t"]
    assert made(*turns)["s2t"][0].values["response"] == "a."


def test_a_rejected_question_leaves_the_answer_to_speak() -> None:
    turns = (question(words=False), answer())
    assert list(made(*turns)) == ["t2c"]
    assert unused(*turns) == {"q": "rejected"}


def test_an_answer_without_text_is_no_answer() -> None:
    turns = (question(), answer(text=None))
    assert made(*turns) == {}
    assert unused(*turns) == {"q": "no_counterpart", "a": "no_text"}


def test_two_questions_in_a_row_and_a_last_one_without_answer() -> None:
    turns = (question("q1"), question("q2"), answer("a2"), question("q3"))
    assert [example.values["example_id"] for example in made(*turns)["s2t"]] == ["q2"]
    assert made(*turns)["s2t"][0].values["prompt"] == "user: q1?"
    assert unused(*turns) == {"q1": "no_counterpart", "q3": "no_counterpart"}


def exchanges(*turns: Turn) -> dict[str, str]:
    """Answer by question of the exchanges, the same in s2t and echo."""
    found = made(*turns)
    pairs = [{e.used[0]: e.used[1] for e in found.get(stage, []) if len(set(e.used)) == 2} for stage in ("s2t", "echo")]
    assert pairs[0] == pairs[1]
    return pairs[0]


def test_a_question_is_not_joined_to_the_answer_of_another() -> None:
    turns = (question("q0", number=0), answer("a3", number=3))
    assert exchanges(*turns) == {}
    assert set(made(*turns)) == {"t2c"}
    assert unused(*turns) == {"q0": "no_counterpart"}


def test_behind_a_gap_a_dialogue_gives_no_exchange() -> None:
    turns = (
        question("q0", number=0),
        answer("a1", number=1),
        answer("a3", number=3),
        question("q4", number=4),
        answer("a5", number=5, audio=False),
    )
    assert exchanges(*turns) == {"q0": "a1"}
    assert {example.values["example_id"] for example in made(*turns)["t2c"]} == {"a1", "a3"}
    assert unused(*turns) == {"q4": "broken_dialogue", "a5": "broken_dialogue"}


def test_a_dialogue_without_its_beginning_is_broken() -> None:
    assert unused(question("q2", number=2), answer("a3", number=3)) == {"q2": "broken_dialogue"}


def test_a_number_that_two_turns_share_is_a_gap() -> None:
    turns = (question("q0", number=0), answer("a1", number=1), answer("b1", number=1), question("q2", number=2))
    assert exchanges(*turns) == {}
    assert unused(*turns) == {"q0": "no_counterpart", "q2": "broken_dialogue"}


def test_turns_are_taken_in_the_order_of_their_numbers() -> None:
    turns = (answer("a3", number=3), question("q0", number=0), question("q2", number=2), answer("a1", number=1))
    assert exchanges(*turns) == {"q0": "a1", "q2": "a3"}
    prompts = {example.values["example_id"]: example.values["prompt"] for example in made(*turns)["echo"]}
    assert prompts == {"q0": "", "q2": "user: q0?\nassistant: a1."}


@pytest.mark.parametrize("task", ["asr", "tts"])
def test_speech_of_other_tasks_makes_no_exchange(task: Task) -> None:
    turns = (turn("x", task, role="user", number=0), turn("y", task, role="assistant", number=1))
    (found,) = made(*turns).values()
    assert [example.values["example_id"] for example in found] == ["x", "y"]
    mixed = (question("q", number=0), turn("y", task, role="assistant", number=1), answer("a", number=2))
    assert exchanges(*mixed) == {}


def test_an_example_id_is_unique_within_its_stage() -> None:
    rng = random.Random(0)
    config = ExamplesConfig(stages=StagesConfig(s2t=("asr", "tts", "sqa"), t2c=("asr", "tts", "sqa")))
    for _ in range(300):
        turns = [
            turn(
                f"t{position}",
                rng.choice(["sqa", "sqa", "sqa", "asr", "tts"]),
                text=rng.choice(["yes", "no", None]),
                role=rng.choice(["user", "assistant", None]),
                words=rng.random() < 0.8,
                audio=rng.random() < 0.8,
                number=rng.choice([position, position, position, None, rng.randrange(8)]),
            )
            for position in range(8)
        ]
        for found in made(*turns, config=config).values():
            names = [example.values["example_id"] for example in found]
            assert len(names) == len(set(names))


@pytest.mark.parametrize(("seconds", "heard"), [(30.0, True), (30.0 + 1 / RATE, False)])
def test_speech_that_exceeds_the_encoder_is_not_heard(seconds: float, heard: bool) -> None:
    assert ("s2t" in made(turn("x", seconds=seconds))) == heard
    assert unused(turn("x", seconds=seconds)) == ({} if heard else {"x": "too_long"})
    long_question = question(seconds=seconds)
    assert set(made(long_question, answer())) == ({"s2t", "echo", "t2c"} if heard else {"t2c"})


def test_what_is_spoken_may_be_long() -> None:
    assert list(made(turn("x", "tts", seconds=100))) == ["t2c"]
    assert set(made(question(), answer(seconds=100))) == {"s2t", "echo", "t2c"}


@pytest.mark.parametrize(
    ("single", "reason"),
    [
        (turn("x", words=False), "rejected"),
        (turn("x", "tts", words=False), "rejected"),
        (turn("x", text=None), "no_text"),
        (turn("x", "tts", text=""), "no_text"),
        (turn("x", audio=False), "no_counterpart"),
        (turn("x", "tts", audio=False), "no_counterpart"),
        (question("x"), "no_counterpart"),
        (question("x", seconds=31), "too_long"),
    ],
)
def test_an_utterance_in_no_example_has_a_reason(single: Turn, reason: str) -> None:
    assert made(single) == {}
    assert unused(single) == {"x": reason}


def test_the_stages_choose_their_tasks() -> None:
    config = ExamplesConfig(stages=StagesConfig(s2t=("sqa",), t2c=("asr",), echo=()))
    assert list(made(turn("x"), config=config)) == ["t2c"]
    assert made(turn("x", "tts"), config=config) == {}
    assert unused(turn("x", "tts"), config=config) == {"x": "task_not_used"}
    assert list(made(question(), answer(), config=config)) == ["s2t"]
    assert unused(question(), answer(), config=config) == {}


def test_words_are_joined_by_id() -> None:
    row = turn("x").row
    words = {"x": {"words": [7], "num_frames": 5}, "y": {"words": [8], "num_frames": 6}}
    assert (Turn.of(row, words).words, Turn.of(row, words).num_frames) == ([7], 5)
    assert (Turn.of(row, {}).words, Turn.of(row, {}).num_frames) == (None, 0)
