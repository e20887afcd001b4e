"""Training: what the recipes cost beside a plain torch step of the same model, and how near a step is to the GEMM peak.

    python benchmarks/training.py [--corpus examples/sample-corpus] [--architecture tiny] [--steps 10] [--blocks 5]

For each stage, the recipe trains `--steps` steps, then a plain loop as many with the same batches, ready in memory:
forward, backward, clipping, AdamW and nothing else; and so on in turns. The recipe's block has all that training has:
metrics and their publishing, the learning rate's schedule, and the data pipeline, which decodes audio and makes
features in threads of its own. The first block is left out. `echo` writes pseudo-labels in both.

On CPUs one thread is used and CPU seconds are measured: "step" those of the thread that trains, "all" those of the
whole process, with the data's. On a GPU both are wall seconds with the GPU waited for. Ratios are medians over the
blocks, and the range. "of GEMM peak": operations that torch counts in a plain step, a second of it, as a share of the
best matrix product of the run in the precision of training. Tokens are those of text and words, without speech.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from echox.recipes.runtime import logging_to_files, prepare
from echox.stages import stage_class
from echox.training import TrainingRequest

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PEAK_SIZE = {"cpu": (512, 768, 768), "cuda": (8192, 8192, 8192)}


@dataclass(frozen=True)
class Times:
    """Seconds: of the thread that trains, and of all threads."""

    step: float
    all: float

    @classmethod
    def now(cls) -> "Times":
        """CPU times; on a GPU the clock, once the GPU has nothing left to do."""
        if DEVICE.type == "cpu":
            return cls(time.thread_time(), time.process_time())
        torch.cuda.synchronize()
        return cls(time.perf_counter(), time.perf_counter())

    def since(self, start: "Times") -> "Times":
        """From `start` on."""
        return Times(self.step - start.step, self.all - start.all)


@dataclass(frozen=True)
class Block:
    """The same steps twice.

    Attributes:
        recipe, plain: how long they took.
        tokens: in them.
        operations: of the plain steps.
    """

    recipe: Times
    plain: Times
    tokens: int
    operations: float


class PlainLoop:
    """Plain torch steps with a stage's model."""

    def __init__(self, stage: Any, precision: str) -> None:
        self.stage = stage
        self.model = _model(stage)
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        config = stage.setting.config.optimizer
        self.trained = trained
        self.max_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(trained, config.lr, config.betas, weight_decay=config.weight_decay)
        self.precision = precision

    def step(self, batch: Any) -> None:
        """One batch."""
        with self._autocast():
            with torch.no_grad():
                prepared = self.stage.prepare(self.model, batch)
            objective = type(self.stage).objective(self.stage, self.model, batch, prepared)
        (objective.total / objective.count).backward()
        nn.utils.clip_grad_norm_(self.trained, self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def operations(self, batch: Any) -> float:
        """That torch counts in a step, attention among them."""
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            self.step(batch)
        return counter.get_total_flops()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(DEVICE.type, torch.bfloat16)


@dataclass
class Turns:
    """Keeps the recipe's batches, and has the plain loop take them whenever the recipe reports.

    Attributes:
        loop: the plain loop.
        batches: of the recipe since it last reported.
        blocks: what was measured.
    """

    loop: PlainLoop
    batches: list[Any] = field(default_factory=list[Any])
    blocks: list[Block] = field(default_factory=list[Block])
    started: Times = field(default_factory=Times.now)

    def objective(self, model: nn.Module, batch: Any, prepared: Any) -> Any:
        """In place of the stage's."""
        self.batches.append(batch)
        return type(self.loop.stage).objective(self.loop.stage, model, batch, prepared)

    def report(self, metrics: Mapping[str, float]) -> None:
        """The recipe's block is over: the plain one's turn."""
        if "loss" not in metrics:  # a validation's
            return
        recipe, start = Times.now().since(self.started), Times.now()
        for batch in self.batches:
            self.loop.step(batch)
        plain = Times.now().since(start)
        tokens = sum(batch.num_positions for batch in self.batches)
        operations = sum(map(self.loop.operations, self.batches)) if len(self.blocks) == 1 else 0.0
        self.blocks.append(Block(recipe, plain, tokens, operations))
        self.batches.clear()
        self.started = Times.now()


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="examples/sample-corpus", help="STORE[@VERSION]")
    parser.add_argument("--architecture", default="tiny", help="name, or YAML file, of an architecture")
    parser.add_argument("--steps", type=int, default=10, help="in a block")
    parser.add_argument("--blocks", type=int, default=5, help="that count")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="setting of every stage")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # without it fairseq2 takes a thread for each core
    torch.set_num_threads(1)
    table = Table(
        "stage", "tokens/s", "of GEMM peak", "plain, s a step", *("recipe, step", "recipe, all", "data, s a step")
    )
    precision = "fp32"
    with TemporaryDirectory() as folder:
        sources: dict[str, str] = {}
        for stage in ("t2c", "s2t", "echo"):
            request = make_request(
                stage, options, Path(folder), {one: sources[one] for one in stage_class(stage).stands_on}
            )
            blocks, precision = measure(request)
            sources[stage] = request.out
            table.add_row(stage, *cells(blocks, options.steps, gemm_peak(precision)))
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{options.architecture} on {options.corpus}, {precision}, {options.blocks} blocks of {options.steps} steps; "
        f"GEMM peak {gemm_peak(precision) / 1e9:,.0f} GFLOP/s; torch {torch.__version__}, {DEVICE.type}, one thread."
    )


def make_request(stage: str, options: argparse.Namespace, folder: Path, sources: Mapping[str, str]) -> TrainingRequest:
    """As many steps as are measured; validation only when that is over."""
    steps = options.steps * (options.blocks + 1)
    values = {"steps": steps, "log_every": options.steps, "validate_every": steps, "checkpoint_every": steps}
    schedule = [f"schedule.{name}={value}" for name, value in values.items()]
    return TrainingRequest(
        stage=stage,
        corpus=options.corpus,
        architecture=options.architecture,
        out=str(folder / stage),
        source_models=sources,
        settings=(*schedule, "data.valid_batches=1", *options.set),
    )


def measure(request: TrainingRequest) -> tuple[list[Block], str]:
    """The blocks of a stage but the first, and its precision."""
    prepare()
    from fairseq2.recipe import run

    from echox.recipes.base import StageRecipe
    from echox.recipes.export import export
    from echox.recipes.launch import settle
    from echox.recipes.recorder import RunRecorder
    from echox.recipes.sections import to_sections

    stage, out = settle(request, write=True), Path(request.out)
    precision = stage.setting.config.parallel.precision
    turns = Turns(PlainLoop(stage, precision))
    stage.objective = turns.objective
    with logging_to_files():
        run(StageRecipe(stage, RunRecorder(out, turns.report)), to_sections(stage.setting.config), out, no_rich=True)
    export(out, turns.loop.model)
    return turns.blocks[1:], precision


def cells(blocks: list[Block], steps: int, peak: float) -> list[str]:
    """One line of the table."""
    tokens = sum(block.tokens for block in blocks) / sum(block.recipe.all for block in blocks)
    counted = blocks[0]
    plain = median(block.plain.step for block in blocks) / steps
    others = median(block.recipe.all - block.recipe.step for block in blocks) / steps
    return [
        f"{tokens:,.0f}",
        f"{counted.operations / counted.plain.step / peak:.0%}",
        f"{plain:.3f}",
        ratio(blocks, lambda block: block.recipe.step / block.plain.step),
        ratio(blocks, lambda block: block.recipe.all / block.plain.step),
        f"{others:.3f}",
    ]


def ratio(blocks: list[Block], of: Callable[[Block], float]) -> str:
    """Median, lowest and highest."""
    found = [of(block) for block in blocks]
    return f"{median(found):.2f}x ({min(found):.2f} to {max(found):.2f})"


def gemm_peak(precision: str) -> float:
    """Operations a second of the best of many matrix products."""
    rows, inner, columns = PEAK_SIZE[DEVICE.type]
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    a = torch.randn(rows, inner, device=DEVICE, dtype=dtype)
    b = torch.randn(inner, columns, device=DEVICE, dtype=dtype)
    best = float("inf")
    for _ in range(100):
        start = Times.now()
        torch.mm(a, b)
        best = min(best, Times.now().since(start).step)
    return 2 * rows * inner * columns / best


def _model(stage: Any) -> nn.Module:
    """As the recipe makes it."""
    model = stage.build()
    stage.load(model)
    stage.freeze(model)
    if stage.setting.config.parallel.precision == "bf16":
        from echox.recipes.parallel import shrink_frozen

        shrink_frozen(model)
    return model.to(DEVICE).train()


if __name__ == "__main__":
    main()
