"""From utterances and their words to the examples of EchoX's three training stages (arXiv 2509.09174).

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
    """Which speech tasks feed which training stage."""

    s2t: tuple[Task, ...] = ("asr", "sqa")
    """Speech in, text out."""
    t2c: tuple[Task, ...] = ("tts", "sqa")
    """Text in, words of units out."""
    echo: tuple[Literal["sqa"], ...] = ("sqa",)
    """Speech in, text and words of units out."""


class ExamplesConfig(FrozenConfig):
    """Which utterances become training examples, and how."""

    max_audio_seconds: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Longer speech is left out of s2t and echo; 30 s is the window of the Whisper encoder."""
    asr_prompt: str = "Transcribe the speech."
    """The `prompt` of s2t examples that are transcripts."""
    stages: StagesConfig = StagesConfig()
    """Which speech tasks feed which stage."""


@dataclass(frozen=True)
class Turn:
    """An utterance with its words; `words` is None where it has no audio or `quantize` rejected it."""

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
        """Position in its dialogue, from 0; None where the source does not number the turns."""
        return self.row["turn"]

    @property
    def text(self) -> str | None:
        """Transcript, or the text to read."""
        return self.row["text"]

    def hearable(self, config: ExamplesConfig) -> bool:
        """Whether the speech can be an input: decoded, and not too long."""
        return self.words is not None and self.row["num_samples"] <= config.max_audio_seconds * SAMPLE_RATE


@dataclass(frozen=True)
class Example:
    """A training example; its audio is added when the shard is written.

    Attributes:
        stage: the training stage, which has a table of its name.
        heard: the utterance whose audio it holds, if any.
        used: ids of the utterances in it.
        values: the columns of the stage's table without the audio.
    """

    stage: str
    heard: SpokenRow | None
    used: tuple[str, ...]
    values: dict[str, Any]


def examples(turns: Sequence[Turn], config: ExamplesConfig) -> Iterator[Example]:
    """The examples of one dialogue, or of one single utterance; no two of a stage share an `example_id`."""
    for turn in turns:
        task = turn.row["task"]
        if task == "asr" and task in config.stages.s2t and turn.text and turn.hearable(config):
            yield _listen("s2t", turn, turn, config.asr_prompt)
        readable = task != "sqa" or turn.row["role"] == "assistant"
        if readable and task in config.stages.t2c and turn.text and turn.words is not None:
            yield _say(turn)
    dialogue = unbroken(turns)
    for position, (question, answer) in enumerate(pairwise(dialogue)):
        if question.row["role"] == "user" and answer.row["role"] == "assistant" and answer.text:
            yield from _exchange(question, answer, history(dialogue[:position]), config)


def unbroken(turns: Sequence[Turn]) -> list[Turn]:
    """The turns of a spoken dialogue in their order, from the first (0) to the last before a gap.

    Behind a turn that is not there (rejected, say) no question has its whole history, and an answer may be to another
    question. A number that two turns share, and a turn of another task, are gaps as well. A turn without a number has
    its position among `turns`.
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


def _exchange(question: Turn, answer: Turn, prompt: str, config: ExamplesConfig) -> Iterator[Example]:
    if not question.hearable(config):
        return
    if "sqa" in config.stages.s2t:
        yield _listen("s2t", question, answer, prompt)
    if "sqa" in config.stages.echo and answer.words is not None:
        yield _listen("echo", question, answer, prompt)


def history(turns: Sequence[Turn]) -> str:
    """The dialogue so far as text, one `role: text` line a turn; empty before the first question."""
    return "\n".join(f"{turn.row['role']}: {turn.text or ''}" for turn in turns)


def unused_reasons(turns: Sequence[Turn], used: Collection[str], config: ExamplesConfig) -> dict[str, str]:
    """Why the utterances of a dialogue that are not in `used` are in no example, by id."""
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


def _listen(stage: str, heard: Turn, answer: Turn, prompt: str) -> Example:
    values = _common(heard) | {
        "num_samples": heard.row["num_samples"],
        "prompt": prompt,
        "transcript": heard.text,
        "response": answer.text,
    }
    if stage == "echo":
        values["words"] = answer.words
    return Example(stage, cast(SpokenRow, heard.row), (heard.row["utterance_id"], answer.row["utterance_id"]), values)


def _say(turn: Turn) -> Example:
    values = _common(turn) | {"text": turn.text, "words": turn.words, "num_frames": turn.num_frames}
    return Example("t2c", None, (turn.row["utterance_id"],), values)


def _common(turn: Turn) -> dict[str, Any]:
    return {
        "example_id": turn.row["utterance_id"],
        "dataset": turn.row["dataset"],
        "split": turn.row["split"],
    }
