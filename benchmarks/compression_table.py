"""Write docs/compression.md: the compression of real units, held out and learnt from, by unit languages.

    python benchmarks/compression_table.py [--data FOLDER] [--output FILE]

FOLDER (default: ECHOX_TEST_DATA) has units/*.jsonl.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece

from unitlang.language.compression import CompressionStats
from unitlang.language.sentencepiece_io import Algorithm
from unitlang.language.unit_language import UnitLanguage, UnitLanguageConfig, train_unit_language
from unitlang.units import Runs, to_runs

ALGORITHMS: tuple[Algorithm, ...] = ("bpe", "unigram")
VOCAB_SIZES = (1_000, 1_500, 2_000, 4_000, 8_000)
HOLD_OUT_EVERY = 5
INTRODUCTION = f"""# Compression of real units

Made by `python benchmarks/compression_table.py`, with `ECHOX_TEST_DATA` set to the folder of test data,
and sentencepiece {sentencepiece.__version__}. Held out: every fifth utterance of each file.
Words have at most {UnitLanguageConfig().max_word_units} units. Vocabularies count `<unk>` and single units.

The samples are minutes long: the tables compare methods; they do not predict the compression of hours of
speech. A word needs at least two occurrences, so *got* can be below *asked*: BPE stops before the first
pair that occurs once, and unigram only considers what occurs twice. Compare methods by *held out*: a unit
language fits the units it was *learnt from* better, above all with unigram's largest vocabularies.
"""


@dataclass(frozen=True)
class Corpus:
    """Real units; `has_frames` is false if repeats were removed before publication."""

    title: str
    note: str
    k: int
    has_frames: bool
    utterances: list[Runs]

    def held_out(self) -> list[Runs]:
        """The held-out utterances: every fifth, starting with the first."""
        return self.utterances[::HOLD_OUT_EVERY]

    def learnt_from(self) -> list[Runs]:
        """The utterances to learn from: all that are not held out."""
        return [runs for index, runs in enumerate(self.utterances) if index % HOLD_OUT_EVERY]


def read(path: Path, field: str) -> list[Runs]:
    """Read a JSONL file with one utterance per line, whose `field` has its units separated by spaces."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [to_runs(np.array(row[field].split(), np.uint16)) for row in rows]


def count(language: UnitLanguage, utterances: list[Runs]) -> CompressionStats:
    """Compression statistics of some utterances."""
    words_W = np.concatenate(language.encode_batch([runs.units_R for runs in utterances]))
    num_frames = sum(runs.num_frames for runs in utterances)
    return CompressionStats.of(num_frames, sum(map(len, utterances)), words_W, language.word_lengths)


def split(corpus: Corpus) -> Iterator[str]:
    """Yield Markdown lines on the split: utterances and runs learnt from and held out."""
    learnt, held_out = corpus.learnt_from(), corpus.held_out()
    num_runs = sum(map(len, held_out))
    num_frames = sum(runs.num_frames for runs in held_out)
    yield f"## {corpus.title}, k = {corpus.k:,}"
    yield ""
    yield f"Learnt from {len(learnt)} utterances ({sum(map(len, learnt)):,} runs), held out {len(held_out)}"
    in_frames = f"; {num_frames:,} frames, {num_frames / num_runs:.2f} per run" if corpus.has_frames else ""
    yield f"({num_runs:,} runs{in_frames}). {corpus.note}"
    yield ""


def table(corpus: Corpus) -> Iterator[str]:
    """Yield Markdown lines of one corpus: its split, then a row for each algorithm and vocabulary size."""
    yield from split(corpus)
    columns = ["method", "vocabulary asked", "got", "runs per word, held out", "(learnt from)"]
    columns += ["frames per word", "words/s", "bits/s"] if corpus.has_frames else []
    columns += ["bits per word", "vocabulary used, held out"]
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for algorithm in ALGORITHMS:
        for vocab_size in VOCAB_SIZES:
            if vocab_size > corpus.k:
                yield f"| {' | '.join(row(corpus, algorithm, vocab_size))} |"
    yield ""


def row(corpus: Corpus, algorithm: Algorithm, vocab_size: int) -> list[str]:
    """Cells of the row of one unit language."""
    language = learn(corpus, algorithm, vocab_size)
    held_out, learnt = (count(language, part) for part in (corpus.held_out(), corpus.learnt_from()))
    cells = [algorithm, f"{vocab_size:,}", f"{language.vocab_size:,}"]
    cells += [f"{held_out.unit_language_ratio:.2f}", f"{learnt.unit_language_ratio:.2f}"]
    if corpus.has_frames:
        cells += [f"{held_out.total_ratio:.2f}", f"{held_out.words_per_second:.1f}"]
        cells += [f"{held_out.bits_per_second:.0f}"]
    return [*cells, f"{held_out.bits_per_word:.2f}", f"{held_out.vocabulary_use:.0%}"]


def learn(corpus: Corpus, algorithm: Algorithm, vocab_size: int) -> UnitLanguage:
    """Train a unit language on the utterances that are not held out."""
    config = UnitLanguageConfig(algorithm=algorithm, vocab_size=vocab_size)
    sequences = [runs.units_R for runs in corpus.learnt_from()]
    return train_unit_language(sequences, config, k=corpus.k, quantizer=corpus.title)


def page(data: Path) -> Iterator[str]:
    """Yield all lines of docs/compression.md."""
    units = data / "units"
    libri = read(units / "LibriSpeech_hubert500.jsonl", "units")
    stream = read(units / "StreamSpeech_mhubert_km1000.jsonl", "units_ref")
    one_speaker = "All are of one speaker (103), so the held-out ones are easier than a new speaker's."
    no_frames = "Published without repeats, so frames are not known; the reference units, not the hypotheses."
    corpora = [
        Corpus("LibriSpeech, HuBERT-base", one_speaker, 500, True, libri),
        Corpus("StreamSpeech, mHuBERT layer 11", no_frames, 1_000, False, stream),
    ]
    yield INTRODUCTION
    for corpus in corpora:
        yield from table(corpus)


def main() -> None:
    """Parse the arguments and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ECHOX_TEST_DATA"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "docs" / "compression.md")
    arguments = parser.parse_args()
    if arguments.data is None:
        sys.exit("give the folder of units with --data or ECHOX_TEST_DATA")
    arguments.output.write_text("\n".join(page(arguments.data)).rstrip() + "\n")


if __name__ == "__main__":
    main()
