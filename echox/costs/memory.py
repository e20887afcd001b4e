"""Memory and hours of the training stages on given GPUs, computed from counts alone.

`python -m echox.costs.memory echox-3b --gpus 8 --memory 80`
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from echox.architectures import Architecture, load_architecture
from echox.costs.counts import count
from echox.costs.operations import HALF, WHOLE, Example
from echox.costs.stages import COSTS, HOUR, costs_of, example_of, stage_work
from echox.errors import EchoxError
from unitlang.printing import shown_lines

GB, TERA = 1e9, 1e12
USABLE = 0.9
"""Assumption: share of a GPU's memory that CUDA, NCCL and fragmentation leave."""


@dataclass(frozen=True)
class Cluster:
    """The GPUs of a training.

    Attributes:
        gpus: number of GPUs.
        memory: bytes of each.
        peak: bfloat16 operations a second of each, the maker's figure.
        bandwidth: bytes a second of each one's memory, the maker's figure.
        utilisation: share of the peak that training reaches (MFU); an assumption.
    """

    gpus: int
    memory: float
    peak: float
    bandwidth: float
    utilisation: float


@dataclass(frozen=True)
class State:
    """Bytes on each GPU before the first batch.

    Attributes:
        weights: frozen ones in bfloat16, trained ones in float32.
        optimizer: gradients and AdamW's two means of the trained ones.
        copies: bfloat16 copies of weights during a step.
        start: bytes of the whole model on the first worker's host, which sends it to the others: frozen weights in
            bfloat16, trained ones in float32. The others make theirs on the meta device.
        end: bytes of the largest weight, which the first worker's host holds while it writes the model.
    """

    weights: float
    optimizer: float
    copies: float
    start: float
    end: float

    @property
    def total(self) -> float:
        """Bytes once training has begun."""
        return self.weights + self.optimizer + self.copies


def state(model: nn.Module, gpus: int, *, writes: bool) -> State:
    """Return the bytes on each GPU: with several GPUs under FSDP2, with one as under DDP.

    Args:
        model: the model as a stage freezes it; it may be on the meta device.
        gpus: number of GPUs that share it.
        writes: whether the stage writes targets, for which FSDP2 gathers all weights.
    """
    weights = count(model)
    own = HALF * (weights.total - weights.trained) + WHOLE * weights.trained
    moments = 3 * WHOLE * weights.trained
    copies = HALF * weights.trained if gpus == 1 else _gathered(model, writes=writes)
    return State(own / gpus, moments / gpus, copies, own, max(map(_stored, model.parameters())))


def _stored(weight: nn.Parameter) -> int:
    """Return the bytes of a weight in the precision in which it is kept."""
    return weight.numel() * (WHOLE if weight.requires_grad else HALF)


def _gathered(model: nn.Module, *, writes: bool) -> float:
    """Return the bytes that FSDP2 holds whole: all but the layers, their gradients, and two layers at a time."""
    from echox.trainer.parallel import layer_stacks

    layers = [count(layer) for stack in layer_stacks(model) for layer in stack]
    weights = count(model)
    rest = weights.total - sum(layer.total for layer in layers)
    trained = weights.trained - sum(layer.trained for layer in layers)
    step = HALF * (rest + 2 * max(layer.total for layer in layers)) + (HALF + WHOLE) * trained
    return max(step, HALF * weights.total) if writes else step


@dataclass(frozen=True)
class Budget:
    """The needs of a stage on a cluster.

    Attributes:
        stage: name of the stage.
        state: bytes on each GPU before the first batch.
        kept, recomputed: bytes of an example, with its layers' activations kept or recomputed.
        fit: examples of a batch that fit on a GPU, kept and recomputed.
        length: positions of an example.
        operations: operations of an example, activations kept: forward, backward, writing of pseudo-labels.
        hours: hours of training on all examples once: operations alone, and reading weights to write pseudo-labels.
    """

    stage: str
    state: State
    kept: float
    recomputed: float
    fit: tuple[int, int]
    length: int
    operations: tuple[float, float, float]
    hours: tuple[float, float]


def budget(architecture: Architecture, stage: str, cluster: Cluster) -> Budget:
    """Return the needs of a stage on a cluster.

    Raises:
        EchoxError: the stage has no cost figures, or the architecture trains more than LoRA.
    """
    costs = costs_of(stage)
    model = costs.model(architecture)
    held = state(model, cluster.gpus, writes=costs.writes is not None)
    example = example_of(architecture, stage)
    worst = stage_work(architecture, stage, example_of(architecture, stage, first=costs.keeps_all_frames))
    kept, recomputed = worst.bytes(recompute=False), worst.bytes(recompute=True)
    free = max(USABLE * cluster.memory - held.total, 0)
    fit = int(free / kept), int(free / recomputed)
    work, written = (
        stage_work(architecture, stage, example),
        costs.writes(architecture, example) if costs.writes else 0.0,
    )
    operations = work.forward, work.backward, written
    hours = costs.data.examples * sum(operations) / (cluster.gpus * cluster.peak * cluster.utilisation) / HOUR
    reading = _reading(model, example, costs.data.examples, fit[1], cluster) if costs.writes else 0.0
    length = costs.positions(example, architecture.adapter.stack)
    return Budget(stage, held, kept, recomputed, fit, length, operations, (hours, reading))


def _reading(model: nn.Module, example: Example, examples: int, batch: int, cluster: Cluster) -> float:
    """Return the hours of reading weights from memory: S2T's language model once a token, T2C once a word."""
    llm, t2c = count(model.get_submodule("s2t.llm")).total, count(model.get_submodule("t2c")).total
    words = example.words / example.segments
    read = HALF * (llm * example.response + t2c * words)
    return examples / max(batch, 1) / cluster.gpus * read / cluster.bandwidth / HOUR


def report(architecture: Architecture, cluster: Cluster) -> Iterator[str]:
    """Yield the needs of all stages with cost figures, as lines of text.

    Raises:
        EchoxError: the architecture trains more than LoRA.
    """
    found = [budget(architecture, stage, cluster) for stage in COSTS]
    spread = "FSDP2" if cluster.gpus > 1 else "one process"
    yield f"GB on each of {cluster.gpus} x {cluster.memory / GB:.0f} GB ({spread}, bf16, AdamW)"
    yield from _memory_lines(found)
    yield ""
    yield from _batch_lines(found)
    yield ""
    yield from _operation_lines(found)
    yield ""
    yield from _hour_lines(found, cluster)


def _memory_lines(found: Sequence[Budget]) -> Iterator[str]:
    held_names = f"{'start':>7}{'weights':>9}{'optimizer':>11}{'copies':>9}{'sum':>9}"
    yield f"{'':6}{held_names}{'an example':>12}{'recomputed':>12}{'peak':>7}{'end':>7}"
    for one in found:
        held = one.state
        amounts = f"{held.weights / GB:9.1f}{held.optimizer / GB:11.1f}{held.copies / GB:9.1f}{held.total / GB:9.1f}"
        examples = f"{one.kept / GB:12.2f}{one.recomputed / GB:12.2f}"
        ends = f"{(held.total + one.recomputed) / GB:7.1f}{held.end / GB:7.1f}"
        yield f"{one.stage:6}{held.start / GB:7.1f}{amounts}{examples}{ends}"


def _batch_lines(found: Sequence[Budget]) -> Iterator[str]:
    yield f"{'':6}{'length':>8}{'fit':>6}{'max_tokens':>14}{'fit, recomputed':>17}{'max_tokens':>14}"
    for one in found:
        fit = [f"{examples:{wide}}{examples * one.length:14,}" for examples, wide in zip(one.fit, (6, 17), strict=True)]
        yield f"{one.stage:6}{one.length:8}{''.join(fit)}"


def _operation_lines(found: Sequence[Budget]) -> Iterator[str]:
    yield f"{'':6}{'hours':>8}{'examples':>11}{'forward':>10}{'backward':>10}{'writing':>10}   TFLOP of an example"
    for one in found:
        data, amounts = COSTS[one.stage].data, "".join(f"{amount / TERA:10.2f}" for amount in one.operations)
        yield f"{one.stage:6}{data.hours:8,.0f}{data.examples:11,}{amounts}"


def _hour_lines(found: Sequence[Budget], cluster: Cluster) -> Iterator[str]:
    speed = (
        f"{cluster.peak / TERA:,.0f} TFLOP/s x {cluster.utilisation} (an assumption), {cluster.bandwidth / TERA} TB/s"
    )
    yield f"hours of training on all of them once, {cluster.gpus} x {speed}"
    for one in found:
        reading = f" and {one.hours[1]:.2f} of reading weights" if one.hours[1] else ""
        yield f"{one.stage:6}{one.hours[0]:8.2f}{reading}"


def main(arguments: list[str] | None = None) -> int:
    """Print the needs of an architecture; return 2 when there are no figures for it."""
    parser = argparse.ArgumentParser(prog="python -m echox.costs.memory", description=__doc__)
    parser.add_argument("architecture", help="name, or YAML file, of an architecture")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--memory", type=float, default=80.0, help="GB of each")
    parser.add_argument("--tflops", type=float, default=989.0, help="bf16 peak of each (H100, H200: 989; A100: 312)")
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s of memory (H100 3.35, H200 4.8, A100 2.0)")
    parser.add_argument("--mfu", type=float, default=0.4, help="share of the peak that training reaches: an assumption")
    given = parser.parse_args(arguments)
    cluster = Cluster(given.gpus, given.memory * GB, given.tflops * TERA, given.bandwidth * TERA, given.mfu)
    try:
        for line in report(load_architecture(given.architecture), cluster):
            sys.stdout.write(line + "\n")
    except EchoxError as error:
        sys.stderr.write(shown_lines(f"{error}\n"))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
