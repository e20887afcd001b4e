"""Measure speed and memory of learning unit languages and of encoding, and whether both grow linearly.

    uv run python benchmarks/unit_language.py [--hours 6000] [--train-hours 25 100 500] [--data FOLDER]

1. Learning: CPU seconds and peak memory of BPE, and of unigram for a few hours. Each runs in a separate process, and
   the cost of synthesising the units is subtracted.
2. Encoding and decoding: units per CPU second of one core by the compiled encoder, by SentencePiece and by HF
   tokenizers' BPE of the same words, the best of three; on synthetic and, if FOLDER has them, real units.
3. Encoding of all hours in batches of 25: time per hour of speech and peak memory must not grow.

Compare ratios within one call: times depend on the machine, and CPU time depends on its load too. There are 25 runs per
second and 750 (30 s) per sequence. Synthetic units are made of spoken words, chosen by Zipf's law, with four
pronunciations each, of phones of 1 to 4 units; 15 % of the units are confused. BPE of 4.5 hours of them gives held-out
speech 3.2 runs per word at 8,000 words and 3.4 at 16,000, as on HuBERT's units of LJSpeech and VCTK. The benchmark
takes six minutes.
"""

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unitlang.language import sentencepiece_io
from unitlang.language.sentencepiece_io import Algorithm
from unitlang.language.unit_language import UnitLanguage, UnitLanguageConfig, train_unit_language
from unitlang.units import Uint16Array, to_runs

K = 500
RUNS_PER_HOUR = 25 * 3_600
SEQUENCE = 750
BATCH_HOURS = 25.0
SPEED_RUNS = 4_000_000
SEEDS_OF_LEARNING, SEEDS_OF_ENCODING = 1, 1_000_000


@dataclass
class Speech:
    """Generator of synthetic deduplicated units; the docstring of the module describes them."""

    units: NDArray[np.int64] = field(init=False)
    lengths: NDArray[np.int64] = field(init=False)
    ends: NDArray[np.int64] = field(init=False)
    cumulated: NDArray[np.float64] = field(init=False)

    num_words = 10_000
    pronunciations = 4
    confused = 0.15

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        phones = [[rng.integers(0, K, rng.integers(1, 5)) for _ in range(4)] for _ in range(45)]
        words = [rng.integers(0, 45, rng.integers(2, 9)) for _ in range(self.num_words)]
        said = [[phones[p][min(rng.geometric(0.5), 4) - 1] for p in word] for word in words for _ in range(4)]
        forms = [np.concatenate(form) for form in said]
        weights = np.repeat(1 / np.arange(1, self.num_words + 1), self.pronunciations)
        self.units = np.concatenate(forms)
        self.lengths = np.array([len(form) for form in forms])
        self.ends = np.cumsum(self.lengths)
        self.cumulated = np.cumsum(weights) / weights.sum()

    def batches(self, hours: float, first_seed: int) -> Iterator[list[Uint16Array]]:
        """Yield the sequences of `hours` of speech in batches of at most `BATCH_HOURS`."""
        for seed in range(int(np.ceil(hours / BATCH_HOURS))):
            num_runs = round(min(BATCH_HOURS, hours - seed * BATCH_HOURS) * RUNS_PER_HOUR)
            yield cut(self.runs(num_runs, np.random.default_rng(first_seed + seed)))

    def runs(self, num_runs: int, rng: np.random.Generator) -> Uint16Array:
        """One sequence of at most `num_runs` runs."""
        mean = np.diff(self.cumulated, prepend=0) @ self.lengths
        forms = np.searchsorted(self.cumulated, rng.random(int(1.1 * num_runs / mean) + 100))
        lengths = self.lengths[forms]
        ends = np.cumsum(lengths)
        units = self.units[np.arange(ends[-1]) + np.repeat(self.ends[forms] - ends, lengths)]
        confused = np.flatnonzero(rng.random(len(units), np.float32) < self.confused)
        units[confused] = (units[confused] * 31 + rng.integers(1, 5, len(confused))) % K
        return units[np.diff(units, prepend=-1) != 0][:num_runs].astype(np.uint16)


def cut(units: Uint16Array) -> list[Uint16Array]:
    """Cut units into sequences of 30 s."""
    return [units[start : start + SEQUENCE] for start in range(0, len(units), SEQUENCE)]


def megabytes() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def learn(hours: float, algorithm: Algorithm, vocab_size: int) -> tuple[UnitLanguage, float, float]:
    """Train a unit language on `hours` of synthetic units.

    Returns:
        the language, the CPU seconds without those of making the units, and the growth of the peak memory in MB.
    """
    speech, making = Speech(), 0.0

    def sequences() -> Iterator[Uint16Array]:
        nonlocal making
        start = time.process_time()
        for batch in speech.batches(hours, SEEDS_OF_LEARNING):
            making += time.process_time() - start
            yield from batch
            start = time.process_time()

    next(speech.batches(BATCH_HOURS, SEEDS_OF_LEARNING))  # peak memory before training includes making a batch
    before, start = megabytes(), time.process_time()
    config = UnitLanguageConfig(algorithm=algorithm, vocab_size=vocab_size)
    language = train_unit_language(sequences(), config, k=K, quantizer="synthetic")
    return language, time.process_time() - start - making, megabytes() - before


def in_process(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function in a new process; return its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def table(title: str, columns: Sequence[str]) -> None:
    """Print the title and header of a Markdown table."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def learning(train_hours: Sequence[float], unigram_hours: Sequence[float]) -> dict[int, UnitLanguage]:
    """Print the table of learning; return the BPE languages of the most hours by vocabulary size."""
    columns = ["method", "vocabulary", "hours", "CPU s", "CPU s an hour", "against the first", "peak memory, MB"]
    table("Learning", columns)
    languages: dict[int, UnitLanguage] = {}
    todo: list[tuple[Algorithm, int, Sequence[float]]] = [
        ("bpe", 8_000, train_hours),
        ("bpe", 16_000, train_hours[-1:]),
        ("unigram", 8_000, unigram_hours),
    ]
    for algorithm, vocab_size, all_hours in todo:
        rates: list[float] = []
        for hours in all_hours:
            language, seconds, memory = in_process(learn, hours, algorithm, vocab_size)
            rates.append(seconds / hours)
            cells = [f"{seconds:.1f}", f"{rates[-1]:.3f}", f"{rates[-1] / rates[0]:.2f}", f"{memory:,.0f}"]
            row(algorithm, f"{language.vocab_size:,}", f"{hours:g}", *cells)
            if algorithm == "bpe":
                languages[vocab_size] = language
    return languages


def by_tokenizers(language: UnitLanguage) -> Callable[[list[Uint16Array]], list[list[int]]]:
    """HF tokenizers' BPE of the same words: merges of all pairs, in the order of SentencePiece's scores."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer, models

    texts = ["".join(chr(0x4E00 + int(unit)) for unit in language.decode([i])) for i in range(1, language.vocab_size)]
    known = set(texts)  # `texts` is in the order of ids: words in the order of BPE's merges, then single units
    cuts = ((text[:end], text[end:]) for text in texts for end in range(1, len(text)))
    merges = [(left, right) for left, right in cuts if left in known and right in known]
    tokenizer = Tokenizer(models.BPE({text: i + 1 for i, text in enumerate(texts)}, merges))

    def encode(sequences: list[Uint16Array]) -> list[list[int]]:
        encoded = tokenizer.encode_batch_fast(["".join(map(chr, (units + 0x4E00).tolist())) for units in sequences])
        return [one.ids for one in encoded]

    return encode


def as_sentencepiece(language: UnitLanguage) -> UnitLanguage:
    """A copy of the language that never uses the compiled encoder."""
    before = sentencepiece_io.COMPILE_AFTER
    sentencepiece_io.COMPILE_AFTER = 2**62
    copy = UnitLanguage.load(language.dump())
    sentencepiece_io.COMPILE_AFTER = before
    return copy


def best(function: Callable[[], object]) -> float:
    """CPU seconds of the fastest of three calls."""
    seconds: list[float] = []
    for _ in range(3):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


def speed(name: str, language: UnitLanguage, sequences: list[Uint16Array]) -> None:
    """Print the rows of one language."""
    num_runs = sum(map(len, sequences))
    plain = as_sentencepiece(language)
    methods: dict[str, Callable[[list[Uint16Array]], Sequence[Any]]] = {"SentencePiece": plain.encode_batch}
    if language.card["config"]["algorithm"] == "bpe":
        language.encode_batch(sequences)  # compiles the encoder
        methods |= {"compiled": language.encode_batch, "HF tokenizers": by_tokenizers(language)}
    expected = plain.encode_batch(sequences)
    reference = 0.0
    for method, encode in methods.items():
        words = encode(sequences)
        equal = np.mean([np.array_equal(one, other) for one, other in zip(words, expected, strict=True)])
        seconds = best(lambda encode=encode: encode(sequences))
        reference = reference or seconds
        cells = [
            f"{num_runs / seconds / 1e6:.1f}",
            f"{reference / seconds:.2f}",
            f"{num_runs / sum(map(len, words)):.3f}",
        ]
        row(name, f"{language.vocab_size:,}", method, *cells, f"{equal:.1%}")
    seconds = best(lambda: language.decode_batch(expected))
    row(name, f"{language.vocab_size:,}", "decoding", f"{num_runs / seconds / 1e6:.1f}", "", "", "")


def real(path: Path) -> tuple[UnitLanguage, list[Uint16Array]]:
    """A language of minutes of real units, and sequences that repeat these units."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    utterances = [to_runs(np.array(row["units"].split(), np.uint16)).units_R for row in rows]
    language = train_unit_language(utterances, UnitLanguageConfig(), k=K, quantizer="real")
    return language, cut(np.resize(np.concatenate(utterances), SPEED_RUNS))


def first_use(language: UnitLanguage) -> float:
    """CPU seconds that a process needs to load the compiled encoder."""
    units = np.zeros(sentencepiece_io.COMPILE_AFTER + 1, np.uint16)
    plain = best(lambda: as_sentencepiece(language).encode(units))
    start = time.process_time()
    language.encode(units)
    return time.process_time() - start - plain


def encoding(languages: dict[int, UnitLanguage], data: Path) -> None:
    """Print the table of encoding."""
    table("Encoding", ["units", "vocabulary", "by", "M units/s", "times SentencePiece", "runs/word", "same sequences"])
    sequences = cut(Speech().runs(SPEED_RUNS, np.random.default_rng(SEEDS_OF_ENCODING)))
    for language in languages.values():
        speed("synthetic, bpe", language, sequences)
    speed("synthetic, unigram", learn(1, "unigram", 8_000)[0], sequences)
    path = data / "units" / "LibriSpeech_hubert500.jsonl"
    if path.is_file():
        speed("LibriSpeech, bpe", *real(path))
    loading = [in_process(first_use, languages[8_000]) for _ in range(2)]
    print(f"\nA process loads the encoder, once it has been compiled on the machine, in {min(loading):.1f} CPU s.")


def everything(language: UnitLanguage, hours: float) -> list[tuple[float, int, int, float, float]]:
    """Encode all hours.

    Returns:
        hours, runs, words, CPU seconds and peak memory in MB, at a hundredth, a tenth and the end of the hours.
    """
    speech, rows = Speech(), []
    language.encode(np.zeros(sentencepiece_io.COMPILE_AFTER + 1, np.uint16))  # loads the encoder
    done, num_runs, num_words, seconds = 0.0, 0, 0, 0.0
    for batch in speech.batches(hours, SEEDS_OF_ENCODING):
        start = time.process_time()
        words = language.encode_batch(batch)
        seconds += time.process_time() - start
        size = sum(map(len, batch))
        done, num_runs, num_words = done + size / RUNS_PER_HOUR, num_runs + size, num_words + sum(map(len, words))
        if done >= hours / 10 ** (2 - len(rows)) - 1e-6:
            rows.append((done, num_runs, num_words, seconds, megabytes()))
    return rows


def main() -> None:
    """Parse the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=6_000.0, help="speech to encode (6000)")
    parser.add_argument("--train-hours", type=float, nargs="+", default=[25.0, 100.0, 500.0], help="samples for BPE")
    parser.add_argument("--unigram-hours", type=float, nargs="+", default=[1.0, 2.0, 4.0], help="samples for unigram")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    languages = learning(arguments.train_hours, arguments.unigram_hours)
    encoding(languages, arguments.data)
    columns = [
        "hours",
        "M runs",
        "runs/word",
        "CPU s",
        "M units/s",
        "CPU s an hour, against the first",
        "peak memory, MB",
    ]
    table(f"Encoding {arguments.hours:g} hours, vocabulary 8,000, compiled", columns)
    rates: list[float] = []
    for hours, num_runs, num_words, seconds, memory in in_process(everything, languages[8_000], arguments.hours):
        rates.append(seconds / hours)
        cells = [
            f"{num_runs / 1e6:.1f}",
            f"{num_runs / num_words:.3f}",
            f"{seconds:.1f}",
            f"{num_runs / seconds / 1e6:.1f}",
        ]
        row(f"{hours:,.0f}", *cells, f"{rates[-1] / rates[0]:.2f}", f"{memory:,.0f}")


if __name__ == "__main__":
    main()
