"""Scale on paper: memory and hours of the three stages on given GPUs, from counts alone.

`python -m echox.costs.memory echox-3b --gpus 8 --memory 80`
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

from echox.costs.operations import HALF, WHOLE, Example, stage_work, writing
from echox.costs.parameters import STAGES, count, stage_model
from echox.errors import EchoxError
from echox.architectures import Architecture, load_architecture

GB, TERA, HOUR = 1e9, 1e12, 3600
TOKENS_PER_SECOND = 3.3
"""Assumed: 150 words of English a minute, 1.3 tokens a word."""
WORDS_PER_SECOND = 16.0
"""Of the unit language: HuBERT-base, k = 500, BPE (docs/compression.md); a longer sample gives fewer."""
PROMPT_TOKENS = 20
"""Assumed: the chat format and a short request."""
SEGMENT_TOKENS = 40
"""Assumed: between the shortest and the longest segment of stage echo's defaults."""
USABLE = 0.9
"""Assumed: share of a GPU's memory that is left by CUDA, NCCL and fragmentation."""


@dataclass(frozen=True)
class Data:
    """A stage's examples in EchoX's paper (arXiv:2509.09174).

    Attributes:
        hours: of speech.
        examples: how many.
    """

    hours: float
    examples: int

    @property
    def seconds(self) -> float:
        """Of speech in an example."""
        return self.hours * HOUR / self.examples


PAPER = {
    "s2t": Data(960 + 3000 + 178 + 327, 281_241 + 723_636 + 43_223 + 117_000),
    "t2c": Data(989 + 84 + 656, 178_576 + 31_563 + 124_945),
    "echo": Data(178 + 327, 43_223 + 117_000),
}
"""LibriSpeech, MLS and the dialogues; the answers' texts with their speech; the dialogues."""


@dataclass(frozen=True)
class Cluster:
    """What trains.

    Attributes:
        gpus: how many.
        memory: bytes of each.
        peak: bfloat16 operations a second of each, the maker's figure.
        bandwidth: bytes a second of each one's memory, the maker's figure.
        utilisation: share of the peak that training has (MFU); an assumption.
    """

    gpus: int
    memory: float
    peak: float
    bandwidth: float
    utilisation: float


@dataclass(frozen=True)
class State:
    """Bytes on each GPU before there is a batch.

    Attributes:
        weights: frozen ones in bfloat16, trained ones in float32.
        optimizer: gradients and AdamW's two means of the trained ones.
        copies: bfloat16 weights that are made for a step.
        start: before it is spread, each worker makes the whole model in float32; later on this is not needed.
    """

    weights: float
    optimizer: float
    copies: float
    start: float

    @property
    def total(self) -> float:
        """All of it, once training has begun."""
        return self.weights + self.optimizer + self.copies


def state(model: nn.Module, gpus: int, *, writes: bool) -> State:
    """With several GPUs under FSDP2, with one as with DDP.

    Args:
        model: as a stage freezes it; it may be on the meta device.
        gpus: how many share it.
        writes: whether targets are written, for which FSDP2 gathers all weights.
    """
    weights = count(model)
    own = HALF * (weights.total - weights.trained) + WHOLE * weights.trained
    moments = 3 * WHOLE * weights.trained
    copies = HALF * weights.trained if gpus == 1 else _gathered(model, writes=writes)
    return State(own / gpus, moments / gpus, copies, WHOLE * weights.total)


def _gathered(model: nn.Module, *, writes: bool) -> float:
    """What FSDP2 holds whole: all but the layers, their gradients until they are spread, and two layers at a time."""
    from echox.recipes.parallel import layer_stacks

    layers = [count(layer) for stack in layer_stacks(model) for layer in stack]
    weights = count(model)
    rest = weights.total - sum(layer.total for layer in layers)
    trained = weights.trained - sum(layer.trained for layer in layers)
    step = HALF * (rest + 2 * max(layer.total for layer in layers)) + (HALF + WHOLE) * trained
    return max(step, HALF * weights.total) if writes else step


def example_of(architecture: Architecture, stage: str, *, first: bool = False) -> Example:
    """The average example of the paper's data.

    Args:
        architecture: its encoder says how many states there are.
        stage: of training.
        first: as long as CTC has learnt nothing, when every frame may be kept; later two for each token of speech.
    """
    seconds = PAPER[stage].seconds
    encoder = architecture.encoder
    states = encoder.max_frames // 2 if encoder.full_window else round(50 * seconds)
    tokens, words = round(TOKENS_PER_SECOND * seconds), round(WORDS_PER_SECOND * seconds)
    frames = states // architecture.adapter.stack
    heard = frames if first else min(frames, 2 * tokens + 1)
    if stage == "t2c":
        return Example(response=tokens, words=words)
    spoken = Example(states=states, heard=heard, prompt=PROMPT_TOKENS, response=tokens + 1)
    return spoken if stage == "s2t" else replace(spoken, words=words, segments=max(1, round(tokens / SEGMENT_TOKENS)))


def positions(stage: str, example: Example, stack: int) -> int:
    """As `data.max_tokens` counts an example."""
    if stage == "t2c":
        return example.response + example.words
    return example.states // stack + example.prompt + example.response


@dataclass(frozen=True)
class Budget:
    """One stage on a cluster.

    Attributes:
        stage: which.
        state: bytes on each GPU.
        kept, recomputed: bytes of an example, with its layers' activations kept or recomputed.
        fit: examples of a batch that fit on a GPU, kept and recomputed.
        length: positions of an example.
        operations: of an example, activations kept: forward, backward, writing of pseudo-labels.
        hours: of training on all examples once: the products alone, and the reading of weights to write pseudo-labels.
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
    """What a stage takes."""
    model = stage_model(architecture, stage)
    held = state(model, cluster.gpus, writes=stage == "echo")
    worst = stage_work(architecture, stage, example_of(architecture, stage, first=stage == "s2t"))
    example = example_of(architecture, stage)
    work = stage_work(architecture, stage, example)
    written = writing(architecture, example) if stage == "echo" else 0.0
    kept, recomputed = worst.bytes(recompute=False), worst.bytes(recompute=True)
    free = USABLE * cluster.memory - held.total
    fit = int(max(free, 0) / kept), int(max(free, 0) / recomputed)
    operations = work.forward, work.backward, written
    speed = cluster.gpus * cluster.peak * cluster.utilisation
    hours = PAPER[stage].examples * sum(operations) / speed / HOUR
    reading = _reading(model, example, PAPER[stage].examples, fit[1], cluster) if stage == "echo" else 0.0
    length = positions(stage, example, architecture.adapter.stack)
    return Budget(stage, held, kept, recomputed, fit, length, operations, (hours, reading))


def _reading(model: nn.Module, example: Example, examples: int, batch: int, cluster: Cluster) -> float:
    """Hours in which weights are read from memory: all of S2T's language model once a token, of T2C once a word."""
    llm, t2c = count(model.get_submodule("s2t.llm")).total, count(model.get_submodule("t2c")).total
    words = example.words / example.segments
    read = HALF * (llm * example.response + t2c * words)
    return examples / max(batch, 1) / cluster.gpus * read / cluster.bandwidth / HOUR


def report(architecture: Architecture, cluster: Cluster) -> Iterator[str]:
    """Lines of text, for people."""
    found = [budget(architecture, stage, cluster) for stage in STAGES]
    spread = "FSDP2" if cluster.gpus > 1 else "one process"
    yield f"GB on each of {cluster.gpus} x {cluster.memory / GB:.0f} GB ({spread}, bf16, AdamW)"
    held_names = f"{'start':>7}{'weights':>9}{'optimizer':>11}{'copies':>9}{'sum':>9}"
    yield f"{'':6}{held_names}{'an example':>12}{'recomputed':>12}"
    for one in found:
        held = one.state
        amounts = f"{held.weights / GB:9.1f}{held.optimizer / GB:11.1f}{held.copies / GB:9.1f}{held.total / GB:9.1f}"
        yield f"{one.stage:6}{held.start / GB:7.1f}{amounts}{one.kept / GB:12.2f}{one.recomputed / GB:12.2f}"
    yield f"\n{'':6}{'length':>8}{'fit':>6}{'max_tokens':>14}{'fit, recomputed':>17}{'max_tokens':>14}"
    for one in found:
        fit = [f"{count:{wide}}{count * one.length:14,}" for count, wide in zip(one.fit, (6, 17), strict=True)]
        yield f"{one.stage:6}{one.length:8}{''.join(fit)}"
    yield f"\n{'':6}{'hours':>8}{'examples':>11}{'forward':>10}{'backward':>10}{'writing':>10}   TFLOP of an example"
    for one in found:
        data, amounts = PAPER[one.stage], "".join(f"{amount / TERA:10.2f}" for amount in one.operations)
        yield f"{one.stage:6}{data.hours:8,.0f}{data.examples:11,}{amounts}"
    speed = (
        f"{cluster.peak / TERA:,.0f} TFLOP/s x {cluster.utilisation} (an assumption), {cluster.bandwidth / TERA} TB/s"
    )
    yield f"\nhours of training on all of them once, {cluster.gpus} x {speed}"
    for one in found:
        yield f"{one.stage:6}{one.hours[0]:8.2f}" + (
            f" and {one.hours[1]:.2f} of reading weights" if one.hours[1] else ""
        )


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m echox.costs.memory", description=__doc__)
    parser.add_argument("preset", help="a preset's name, or a YAML file of an architecture")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--memory", type=float, default=80.0, help="GB of each")
    parser.add_argument("--tflops", type=float, default=989.0, help="bf16 peak of each (H100, H200: 989; A100: 312)")
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s of memory (H100 3.35, H200 4.8, A100 2.0)")
    parser.add_argument("--mfu", type=float, default=0.4, help="share of the peak that training has: an assumption")
    given = parser.parse_args(arguments)
    cluster = Cluster(given.gpus, given.memory * GB, given.tflops * TERA, given.bandwidth * TERA, given.mfu)
    try:
        for line in report(load_architecture(given.preset), cluster):
            sys.stdout.write(line + "\n")
    except EchoxError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
