"""The marks of the models of `miniature.py` on spoken questions of the test, in text and in units of speech."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import editdistance
from miniature_llm import Pair
from safetensors.torch import load_file

from echox.checkpoints import load_weights
from echox.data.corpus import Corpus
from echox.data.features import SpeechFeatures
from echox.data.speech import SpokenBatch, spoken_reading
from echox.decoding.generation import Written, answer, write_words
from echox.models.echo import Echo
from echox.models.ragged import Ragged
from echox.recipes.folder import RunFolder
from echox.text.prompts import Prompter
from echox.text.tokenizer import END_OF_TURN
from storage.tables import read_table
from unitlang.language.unit_language import UnitLanguage

BATCH = 48
LONGEST_ANSWER = 16
MOST_WORDS = 64
"""Most tokens and words that are generated."""


class Recogniser:
    """Recognises the answer in units: the most similar spoken answer of the training."""

    def __init__(self, corpus: Corpus) -> None:
        self.language: UnitLanguage = corpus.unit_language
        rows = rows_of(corpus, "t2c", ("split", "text", "words"))
        spoken = {(row["text"], tuple(row["words"])) for row in rows if row["split"] == "train"}
        self._known = sorted((text, self._units(words)) for text, words in spoken)

    def __call__(self, words: Sequence[int]) -> str:
        """Return the text of the nearest answer, by edit distance of units."""
        units = self._units(words)
        return min(self._known, key=lambda known: editdistance.eval(known[1], units))[0]

    def _units(self, words: Sequence[int]) -> list[int]:
        return self.language.decode(words).tolist()


@dataclass(frozen=True)
class Exam:
    """Spoken questions of one split, in voices that are not in training.

    Attributes:
        corpus: the corpus.
        split: `test_known` or `test_new`.
    """

    corpus: Corpus
    split: str

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table `echo`."""
        columns = ("example_id", "split", "audio", "num_samples", "prompt", "transcript", "response", "words")
        return [row for row in rows_of(self.corpus, "echo", columns) if row["split"] == self.split]

    @property
    def pairs(self) -> list[Pair]:
        """Questions and answers as text."""
        return [(row["transcript"], row["response"]) for row in self.rows]

    def right(self, found: Iterable[str]) -> list[bool]:
        """Return whether each answer is the expected one."""
        return [text == row["response"] for text, row in zip(found, self.rows, strict=True)]


class Speaker:
    """A finished run of stage echo, which answers in text, and in words of that text and of its states."""

    def __init__(self, folder: Path) -> None:
        run = RunFolder.open(folder)
        self.tokenizer = run.tokenizer()
        self.model = Echo(run.architecture, self.tokenizer.speech_id)
        load_weights(self.model, load_file(run.weights), run.weights)
        self.model.eval()
        self._reading = spoken_reading(
            "echo", Prompter(self.tokenizer), SpeechFeatures(run.architecture.encoder), with_words=True
        )

    def answers(self, exam: Exam) -> Iterator[Written]:
        """Yield the answers of S2T with their states."""
        end = self.tokenizer.special(END_OF_TURN)
        for start in range(0, len(exam.rows), BATCH):
            examples = [self._reading.example(row) for row in exam.rows[start : start + BATCH]]
            inputs = cast(SpokenBatch, self._reading.collate(examples)).inputs
            yield answer(self.model.s2t, inputs.speech, inputs.prompt, end=end, max_new_tokens=LONGEST_ANSWER)

    def texts(self, written: Iterable[Written]) -> list[str]:
        """Return the answers as text."""
        return [self.tokenizer.decode(row.tolist()) for batch in written for row in batch.tokens.rows()]

    def cascade(self, written: Iterable[Written]) -> list[list[int]]:
        """Return the words of T2C, which reads the answers' text."""
        return _rows(self._speak_text(batch) for batch in written)

    def echo(self, written: Iterable[Written]) -> list[list[int]]:
        """Return the words of the Echo decoder, which reads the states."""
        return _rows(self._speak_states(batch) for batch in written)

    def _speak_text(self, batch: Written) -> Ragged:
        return write_words(self.model.t2c, self.model.text_prefix(batch.tokens), max_new_tokens=MOST_WORDS)

    def _speak_states(self, batch: Written) -> Ragged:
        prefix = self.model.wrap(self.model.denoise(batch.states))
        return write_words(self.model.words, prefix, max_new_tokens=MOST_WORDS)


def judge(exam: Exam, recognise: Recogniser, runs: Mapping[str, Path]) -> dict[str, list[bool]]:
    """Return whether each question was answered correctly, by way of answering.

    Args:
        exam: the questions.
        recognise: recognises spoken answers.
        runs: runs of stage echo by name, all from the same runs of s2t and t2c.
    """
    speakers = {name: Speaker(folder) for name, folder in runs.items()}
    first = next(iter(speakers.values()))
    written = list(first.answers(exam))
    spoken = {
        "recorded answers": [row["words"] for row in exam.rows],
        "cascade": first.cascade(written),
        **{name: speaker.echo(written) for name, speaker in speakers.items()},
    }
    marks = {name: exam.right(map(recognise, words)) for name, words in spoken.items()}
    return {"S2T": exam.right(first.texts(written)), **marks}


def rows_of(corpus: Corpus, table: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a training table."""
    for path in corpus.paths(table):
        yield from read_table(corpus.store, path, list(columns)).to_pylist()


def _rows(batches: Iterable[Ragged]) -> list[list[int]]:
    return [row.tolist() for batch in batches for row in batch.rows()]
