"""Make the examples of EchoX's three training stages (arXiv 2509.09174) from utterances and their words.

| stage | from asr | from tts | from a dialogue (sqa) |
|---|---|---|---|
| s2t | speech -> its transcript | | question's speech -> answer's text |
| t2c | text -> words of its speech | text -> words of its reading | answer's text -> words of its speech |
| echo | | | question's speech -> answer's text and words |
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any, Literal, Self, cast

from pydantic import Field

from pipelines.readers.base import Task
from pipelines.records import SpokenRow, UtteranceRow, WordsRow
from unitlang.config import FrozenConfig
from unitlang.frames import SAMPLE_RATE


class StagesConfig(FrozenConfig):
    """Speech tasks from which each training stage takes its examples."""

    s2t: tuple[Task, ...] = ("asr", "sqa")
    """Speech in, text out."""
    t2c: tuple[Task, ...] = ("tts", "sqa")
    """Text in, words of units out."""
    echo: tuple[Literal["sqa"], ...] = ("sqa",)
    """Speech in, text and words of units out."""


class ExamplesConfig(FrozenConfig):
    """Selection of the utterances that become training examples."""

    max_audio_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Longer speech is left out of s2t and echo; 30 s is the window of the Whisper encoder."""
    asr_prompt: str = "Transcribe the speech."
    """The `prompt` of s2t examples that are transcripts."""
    stages: StagesConfig = StagesConfig()
    """Speech tasks of each training stage."""


@dataclass(frozen=True)
class Turn:
    """An utterance with its words; `words` is None if it has no audio or `quantize` rejected it."""

    row: UtteranceRow
    words: list[int] | None
    num_frames: int

    @classmethod
    def of(cls, row: UtteranceRow, words_by_id: Mapping[str, WordsRow]) -> Self:
        """Join an utterance with its row of the `unit_language` table."""
        words = words_by_id.get(row["utterance_id"])
        return cls(row, words["words"] if words else None, words["num_frames"] if words else 0)

    @property
    def number(self) -> int | None:
        """Position in the dialogue, from 0; None if the source does not number the turns."""
        return self.row["turn"]

    @property
    def text(self) -> str | None:
        """Transcript of the utterance, or the text that was read."""
        return self.row["text"]

    def hearable(self, config: ExamplesConfig) -> bool:
        """Return whether the speech can be an input: it was decoded and is not too long."""
        return self.words is not None and self.row["num_samples"] <= config.max_audio_seconds * SAMPLE_RATE


@dataclass(frozen=True)
class Example:
    """A training example; its audio is added when the shard is written.

    Attributes:
        stage: the training stage, whose table has the same name.
        heard: the utterance that is the speech input, if any.
        used: ids of the utterances in the example.
        values: the columns of the stage's table without the audio.
    """

    stage: str
    heard: SpokenRow | None
    used: tuple[str, ...]
    values: dict[str, Any]


def examples(turns: Sequence[Turn], config: ExamplesConfig) -> Iterator[Example]:
    """Yield the examples of one dialogue or of one single utterance.

    Examples of one stage have distinct `example_id`s: each utterance is the input of at most one example of a stage.
    """
    for turn in turns:
        yield from _of_one_turn(turn, config)
    dialogue = unbroken(turns)
    for position, (question, answer) in enumerate(pairwise(dialogue)):
        is_exchange = question.row["role"] == "user" and answer.row["role"] == "assistant"
        if is_exchange and answer.text:
            yield from _of_exchange(question, answer, history(dialogue[:position]), config)


def _of_one_turn(turn: Turn, config: ExamplesConfig) -> Iterator[Example]:
    """Yield the examples that need no other turn: s2t from a transcript, t2c from a text and its speech."""
    task, stages = turn.row["task"], config.stages
    if not turn.text:
        return
    if task == "asr" and task in stages.s2t and turn.hearable(config):
        yield _from_speech("s2t", turn, turn, config.asr_prompt)
    is_answer = task != "sqa" or turn.row["role"] == "assistant"  # of a dialogue, t2c learns only the answers
    if is_answer and task in stages.t2c and turn.words is not None:
        yield _from_text(turn)


def unbroken(turns: Sequence[Turn]) -> list[Turn]:
    """The turns of a spoken dialogue in order, from the first (number 0) to the last one before a gap.

    After a missing turn (for instance a rejected one), questions lack part of their history, and an answer may belong
    to another question. A number that two turns share and a turn of another task count as gaps too. A turn without a
    number takes its position in `turns`.
    """
    numbered = [(position if turn.number is None else turn.number, turn) for position, turn in enumerate(turns)]
    numbered.sort(key=itemgetter(0))
    sharing = Counter(number for number, _ in numbered)
    whole: list[Turn] = []
    for number, turn in numbered:
        if number != len(whole) or sharing[number] > 1 or turn.row["task"] != "sqa":
            break
        whole.append(turn)
    return whole


def _of_exchange(question: Turn, answer: Turn, prompt: str, config: ExamplesConfig) -> Iterator[Example]:
    """Yield the examples of a spoken question and its answer."""
    if not question.hearable(config):
        return
    if "sqa" in config.stages.s2t:
        yield _from_speech("s2t", question, answer, prompt)
    if "sqa" in config.stages.echo and answer.words is not None:
        yield _from_speech("echo", question, answer, prompt)


def history(turns: Sequence[Turn]) -> str:
    """The dialogue so far as text, one line `role: text` for each turn; empty before the first question."""
    return "\n".join(f"{turn.row['role']}: {turn.text or ''}" for turn in turns)


def unused_reasons(turns: Sequence[Turn], used: Collection[str], config: ExamplesConfig) -> dict[str, str]:
    """Reasons by utterance id for the turns of a dialogue that are in no example.

    Args:
        turns: the dialogue.
        used: ids of the utterances that are in an example.
        config: selection of the examples.
    """
    whole = {turn.row["utterance_id"] for turn in unbroken(turns)}
    reasons: dict[str, str] = {}
    for turn in turns:
        name = turn.row["utterance_id"]
        if name not in used:
            broken = turn.row["task"] == "sqa" and name not in whole
            reasons[name] = _unused_reason(turn, config, broken)
    return reasons


def _unused_reason(turn: Turn, config: ExamplesConfig, broken: bool) -> str:
    if turn.row["audio"] is not None and turn.words is None:
        return "rejected"
    if not turn.text:
        return "no_text"
    if turn.row["task"] not in {*config.stages.s2t, *config.stages.t2c, *config.stages.echo}:
        return "task_not_used"
    if broken:
        return "broken_dialogue"
    return "too_long" if turn.words is not None and not turn.hearable(config) else "no_counterpart"


def _from_speech(stage: str, heard: Turn, answer: Turn, prompt: str) -> Example:
    """An example with speech as its input: of s2t, or of echo with the words of the answer."""
    values = _common(heard) | {
        "num_samples": heard.row["num_samples"],
        "prompt": prompt,
        "transcript": heard.text,
        "response": answer.text,
    }
    if stage == "echo":
        values["words"] = answer.words
    return Example(stage, cast(SpokenRow, heard.row), (heard.row["utterance_id"], answer.row["utterance_id"]), values)


def _from_text(turn: Turn) -> Example:
    """An example of t2c: from the text to the words of its speech."""
    values = _common(turn) | {"text": turn.text, "words": turn.words, "num_frames": turn.num_frames}
    return Example("t2c", None, (turn.row["utterance_id"],), values)


def _common(turn: Turn) -> dict[str, Any]:
    return {
        "example_id": turn.row["utterance_id"],
        "dataset": turn.row["dataset"],
        "split": turn.row["split"],
    }
