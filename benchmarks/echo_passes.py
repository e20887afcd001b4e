"""Costs of equation 4 in stage echo: steps without S2T's loss, with it in one pass, and with a pass over each answer.

    python benchmarks/echo_passes.py [--steps 12]

A small model with LoRA on CPUs, a batch of 8 random examples whose own and annotated answers are equally long. The
three kinds of steps take turns in one run. Operations are those that torch counts, CPU seconds those of the process;
both are of forward and backward pass, without the writing of pseudo-labels, which all three kinds need. The last lines
are computed from the shapes of the large architectures (`echox.costs`), pseudo-labels included.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from echox.architectures import ARCHITECTURES
from echox.costs.operations import decoder_work, writing
from echox.costs.stages import example_of, stage_work
from echox.models.echo import Echo, Segments
from echox.models.ragged import Ragged
from echox.models.s2t import S2TInputs
from echox.objectives import EchoLossConfig, echo_objective

EXAMPLES, FRAMES, TOKENS, WORDS = 8, 400, 40, 120


def main() -> None:
    """Print a table of the three kinds of steps, and the ratios of the large architectures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="steps of each kind")
    options = parser.parse_args()
    torch.manual_seed(0)
    kinds = {
        "S2T frozen (s2t_weight 0)": step_of(trains=False, twice=False),
        "LoRA, one pass (targets=pseudo_from_text)": step_of(trains=True, twice=False),
        "LoRA, own and annotated answer (targets=pseudo)": step_of(trains=True, twice=True),
    }
    print("| step | GFLOP | CPU seconds | of the first |\n|---|---|---|---|")
    operations = {name: counted(step) for name, step in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.steps):
        for name, step in kinds.items():
            seconds[name].append(timed(step))
    first = next(iter(kinds))
    for name in kinds:
        ratios = operations[name] / operations[first], median(seconds[name]) / median(seconds[first])
        numbers = f"{operations[name] / 1e9:.2f} | {median(seconds[name]):.2f}"
        print(f"| {name} | {numbers} | {ratios[0]:.2f} x operations, {ratios[1]:.2f} x CPU |")
    for name in ("echox-3b", "echox-8b"):
        print(f"{name}: the second pass makes a step with pseudo-labels {large(name):.2f} times as much work")


def step_of(*, trains: bool, twice: bool) -> Callable[[], Tensor]:
    """Return a step that computes the loss and its gradients."""
    tiny = ARCHITECTURES["tiny"]
    model = Echo(replace(tiny, llm=replace(tiny.llm, trainable="lora")), 0).train()
    model.freeze(train_s2t=trains)
    speech = Ragged(torch.randn(EXAMPLES, FRAMES, tiny.encoder.mels), torch.full((EXAMPLES,), FRAMES))
    own, annotated = (Ragged.of([[start + i for i in range(TOKENS)]] * EXAMPLES) for start in (100, 200))
    inputs = S2TInputs(speech, Ragged.of([[5, 0, *range(10, 20)]] * EXAMPLES), own, Ragged.of([[]] * EXAMPLES))
    segments, words = Segments.whole(own.lengths_B), Ragged.of([[1 + i % 80 for i in range(WORDS)]] * EXAMPLES)
    config = EchoLossConfig(s2t_weight=float(trains))

    def step() -> Tensor:
        output = model(inputs, segments, words, with_response=trains, annotated=annotated if twice else None)
        objective = echo_objective(output, config)
        (objective.total / objective.count).backward()
        return objective.total

    return step


def counted(step: Callable[[], Tensor]) -> int:
    """Return the operations of a step."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def timed(step: Callable[[], Tensor]) -> float:
    """Return the CPU seconds of a step."""
    start = time.process_time()
    step()
    return time.process_time() - start


def large(name: str) -> float:
    """Return the operations of a step of the average example, pseudo-labels included, as a multiple of one pass."""
    architecture = ARCHITECTURES[name]
    example = example_of(architecture, "echo")
    both = stage_work(architecture, "echo", example).operations(recompute=False) + writing(architecture, example)
    positions, llm = example.speech + example.prompt + example.response, architecture.llm
    again = decoder_work(llm.decoder, positions, 1, "through", llm.lora)
    return both / (both - again.operations(recompute=False))


if __name__ == "__main__":
    main()
