"""Train every stage on two workers in every combination of what is trained, strategy, precision and recomputation.

    python benchmarks/parallel_matrix.py [--only echo-lora] [--pairwise]

On CPUs, with gloo, on a corpus of tones and a tiny model. Each run has 8 steps with a validation and a checkpoint every
4; the workers are killed at step 6, and the same request is resumed. "from the reference" is the largest relative
difference of a step's loss from that of the same training with `ddp`, `fp32` and kept activations; "resumed" that of
the steps which were trained twice, before the kill and after the resume: 0 means the same bits. A combination that
fails is shown with the end of its log, and the exit code is 1. The 48 combinations take half an hour on two idle cores;
`--pairwise` takes those of the slow test, 12.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.echox.corpora import write_corpus
from tests.echox.matrix import CELLS, Cell, Matrix, pairwise


def main() -> int:
    """Train the combinations, print a line of a Markdown table for each, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="combinations with this in their name")
    parser.add_argument("--pairwise", action="store_true")
    options = parser.parse_args()
    cells = [cell for cell in (pairwise(CELLS) if options.pairwise else CELLS) if options.only in str(cell)]
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(write_corpus(Path(folder, "tones")), Path(folder))
        print(
            "| stage | of S2T | strategy | precision | activations | loss | valid | from the reference | resumed | s |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        fine = [line(matrix, cell) for cell in cells]
    return int(not all(fine))


def line(matrix: Matrix, cell: Cell) -> bool:
    """Train one combination and print its line; return False if it failed."""
    start = time.monotonic()
    activations = "recomputed" if cell.recomputed else "kept"
    begin = f"| {cell.stage} | {cell.learns} | {cell.strategy} | {cell.precision} | {activations} |"
    try:
        found = matrix.run(cell)
    except AssertionError as error:
        print(begin, "FAILED | | | | |", f"\n{error}\n", flush=True)
        return False
    seconds = time.monotonic() - start
    loss = found.losses[max(found.losses)]
    print(
        begin,
        f"{loss:.4f} | {found.validation:.4f} | {found.apart:.1e} | {found.resumed:g} | {seconds:.0f} |",
        flush=True,
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
