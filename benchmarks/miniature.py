"""The claims of EchoX in miniature: a spoken question-answer corpus, a tiny LLM that knows the answers, three stages.

    python benchmarks/miniature.py [--seeds 2] [--fast] [--folder FOLDER]

Needs espeak-ng (Debian: `apt-get install espeak-ng`), and a quarter of an hour on 2 cores. It

1. invents facts (`miniature_facts.py`), and synthesises questions in many voices and answers in one, by espeak-ng;
2. builds a corpus of them: MFCC, 100 units, a unit language (`pipelines.build.build`);
3. teaches a tiny Llama the facts as text (`miniature_llm.py`), in the phrasings of the training;
4. trains s2t and t2c, and echo three times: as published with pseudo-labels, without the denoising loss, and with
   annotated words in place of pseudo-labels;
5. asks the questions of the test, in voices that are neither in training nor in validation, half of them in phrasings
   that are neither in the LLM's text nor in any speech.

A text answer is right if it is the expected text, word by word. A spoken answer is right if the expected one is, of all
spoken answers of the training, the nearest by edit distance of units; the units are decoded from the words that a model
wrote. `recorded answers` are espeak-ng's own at a speed that is not in training: the best that this recogniser can do.

Each number is the mean of the seeds, which draw weights and the order of the data, with the lowest and highest; the
corpus is the same for all. Seeds train in parallel, in processes of one thread. Aims: S2T at least 90 % of the LLM,
echo at least 90 % of the cascade, S2T's text spoken by T2C.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from miniature_corpus import Sizes, make_corpus
from miniature_facts import NAMES, PHRASINGS, Fact, invent
from miniature_judge import Exam, Recogniser, judge
from miniature_llm import answered
from miniature_models import Steps, teach_and_train
from rich.console import Console
from rich.table import Table

from echox.data.corpus import Corpus

SPLITS = {"test_known": "known phrasings", "test_new": "new phrasings"}
AIM = 0.9


@dataclass(frozen=True)
class Scale:
    """The size of the benchmark."""

    names: int
    sizes: Sizes
    steps: Steps


FULL = Scale(len(NAMES), Sizes(4_000, 96, 96), Steps(llm=400, s2t=3_200, t2c=240, echo=120))
FAST = Scale(2, Sizes(120, 16, 16), Steps(llm=40, s2t=20, t2c=20, echo=10))

Marks = Mapping[str, Sequence[bool]]
"""Whether each question was answered correctly, by way of answering."""


def main() -> None:
    """Run the benchmark and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--fast", action="store_true", help="a short run that learns nothing, to check the program")
    parser.add_argument("--folder", type=Path, help="folder of all files; default: a temporary folder")
    options = parser.parse_args()
    scale = FAST if options.fast else FULL
    os.environ["OMP_NUM_THREADS"] = "1"  # of each seed's process
    if options.folder is not None:
        options.folder.mkdir(parents=True)
        run(options.folder, scale, options.seeds)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), scale, options.seeds)


def run(folder: Path, scale: Scale, seeds: int) -> None:
    """Run the whole benchmark in a folder."""
    console, began = Console(), time.time()
    facts = invent(0, scale.names)
    corpus = make_corpus(folder, facts, scale.sizes, 0, console)
    console.print(f"{corpus}: {len(facts)} facts, {scale.sizes.train:,} questions; {time.time() - began:.0f} s")
    # spawned, because the trainer keeps state in its process
    with ProcessPoolExecutor(seeds, get_context("spawn")) as processes:
        results = list(processes.map(partial(one_seed, folder, facts, corpus, scale.steps), range(1, seeds + 1)))
    console.print(table(results), *aims(results), sep="\n")
    console.print(f"{seeds} seeds; {time.time() - began:.0f} s in all")


def one_seed(folder: Path, facts: Sequence[Fact], corpus: str, steps: Steps, seed: int) -> dict[str, Marks]:
    """Train everything once, and return marks by split of the test.

    Args:
        folder: folder of all files.
        facts: the facts.
        corpus: STORE@VERSION.
        steps: lengths of training.
        seed: seed of weights and of the order of the data.
    """
    console = Console()
    pairs = [(fact.question(phrasing), fact.answer) for fact in facts for phrasing in PHRASINGS]
    trained = teach_and_train(folder / f"seed{seed}", pairs, corpus, steps, seed, console)
    opened = Corpus.open(corpus)
    recognise = Recogniser(opened)
    results: dict[str, Marks] = {}
    for split in SPLITS:
        exam = Exam(opened, split)
        spoken = judge(exam, recognise, trained.echo)
        results[split] = {"LLM, text": answered(trained.llm, exam.pairs, trained.prompter), **spoken}
    console.print(f"seed {seed}: {time.process_time():.0f} s of CPU")
    return results


def table(results: Sequence[Mapping[str, Marks]]) -> Table:
    """Return a table with a row for each way of answering."""
    head = Table("right answers, %", *SPLITS.values(), "all")
    for name in results[0]["test_known"]:
        columns = ([split] for split in SPLITS)
        head.add_row(name, *(spread(results, name, splits) for splits in (*columns, [*SPLITS])))
    return head


def spread(results: Sequence[Mapping[str, Marks]], name: str, splits: Sequence[str]) -> str:
    """Return mean, lowest and highest of the seeds."""
    shares = [100 * statistics.mean(mark for split in splits for mark in marks[split][name]) for marks in results]
    return f"{statistics.mean(shares):.1f} ({min(shares):.1f} to {max(shares):.1f})"


def aims(results: Sequence[Mapping[str, Marks]]) -> list[str]:
    """Return the results on the paper's claims."""
    return [aim(results, "S2T", "LLM, text"), aim(results, "echo", "cascade")]


def aim(results: Sequence[Mapping[str, Marks]], name: str, other: str) -> str:
    """Compare two ways of answering, by seed."""
    shares = [total(marks, name) / max(total(marks, other), 1) for marks in results]
    listed = ", ".join(f"{share:.3f}" for share in shares)
    reached = "reached" if min(shares) >= AIM else "missed"
    return f"{name} / {other}: {listed}; aim {AIM}: {reached}"


def total(marks: Mapping[str, Marks], name: str) -> int:
    """Return the number of right answers."""
    return sum(sum(marks[split][name]) for split in SPLITS)


if __name__ == "__main__":
    main()
