"""Weights of each part, and how many of them each stage trains, counted without making any of them.

`python -m echox.costs.parameters echox-3b`
"""

import argparse
import sys

from echox.architectures import Architecture, load_architecture
from echox.costs.counts import Count
from echox.costs.stages import COSTS
from echox.errors import EchoxError
from unitlang.printing import shown_lines


def stage_counts(architecture: Architecture) -> dict[str, dict[str, Count]]:
    """Return, for each stage with cost figures, the weights of its parts and of `all`, frozen as the stage does it."""
    return {stage: costs.counts(architecture) for stage, costs in COSTS.items()}


def table(counts: dict[str, dict[str, Count]]) -> str:
    """Return the counts as lines of text."""
    lines = [f"{'stage':6}{'part':16}{'weights':>16}{'trained':>16}{'share':>9}"]
    for stage, parts in counts.items():
        for part, found in parts.items():
            share = f"{100 * found.trained / max(found.total, 1):.2f} %"
            lines.append(f"{stage:6}{part:16}{found.total:16,}{found.trained:16,}{share:>9}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the table of an architecture; return 2 when there is no such architecture."""
    parser = argparse.ArgumentParser(prog="python -m echox.costs.parameters", description="Weights of an architecture.")
    parser.add_argument("architecture", help="name, or YAML file, of an architecture")
    architecture = parser.parse_args(arguments).architecture
    try:
        sys.stdout.write(table(stage_counts(load_architecture(architecture))) + "\n")
    except EchoxError as error:
        sys.stderr.write(shown_lines(f"{error}\n"))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
