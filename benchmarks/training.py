"""Training: the recipes' time beside plain torch steps of the same model, and a step's share of the GEMM peak.

    python benchmarks/training.py [--corpus examples/sample-corpus] [--architecture tiny] [--steps 10] [--blocks 5]

For each stage, the recipe trains `--steps` steps, and then a plain loop trains on the same batches from memory:
forward, backward, clipping and AdamW alone; they take turns. The recipe's block includes all of training: metrics and
their publishing, the learning rate's schedule, and the data pipeline, which decodes audio and computes features in
threads of its own. The first block is not counted. `echo` writes pseudo-labels in both.

On CPUs one thread is used and CPU seconds are measured: "step" are seconds of the training thread, "all"
seconds of the whole process, data included. On a GPU both are wall seconds after synchronisation. Ratios are medians
over the blocks, with the range. "of GEMM peak": operations per second of a plain step, as torch counts them, relative
to the fastest matrix product of the run in the precision of training. Tokens are those of text and words, not speech.
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

from echox.stages import stage_class, text_columns
from echox.trainer.runtime import logging_to_files, prepare
from echox.training import TrainingRequest

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PEAK_SIZE = {"cpu": (512, 768, 768), "cuda": (8192, 8192, 8192)}


@dataclass(frozen=True)
class Times:
    """Seconds of the training thread, and of all threads."""

    step: float
    all: float

    @classmethod
    def now(cls) -> "Times":
        """Return the CPU times; on a GPU the clock, after synchronisation."""
        if DEVICE.type == "cpu":
            return cls(time.thread_time(), time.process_time())
        torch.cuda.synchronize()
        return cls(time.perf_counter(), time.perf_counter())

    def since(self, start: "Times") -> "Times":
        """Return the times since `start`."""
        return Times(self.step - start.step, self.all - start.all)


@dataclass(frozen=True)
class Block:
    """The same steps by the recipe and by the plain loop.

    Attributes:
        recipe, plain: times of both.
        tokens: tokens of the steps.
        operations: operations of the plain steps.
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
        """Train on one batch."""
        with self._autocast():
            with torch.no_grad():
                prepared = self.stage.prepare(self.model, batch)
            objective = type(self.stage).objective(self.stage, self.model, batch, prepared)
        (objective.total / objective.count).backward()
        nn.utils.clip_grad_norm_(self.trained, self.max_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def operations(self, batch: Any) -> float:
        """Return the operations that torch counts in a step, attention included."""
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            self.step(batch)
        return counter.get_total_flops()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(DEVICE.type, torch.bfloat16)


@dataclass
class Turns:
    """Collects the recipe's batches, and trains the plain loop on them whenever the recipe reports.

    Attributes:
        loop: the plain loop.
        batches: batches of the recipe since its last report.
        blocks: the measurements.
    """

    loop: PlainLoop
    batches: list[Any] = field(default_factory=list[Any])
    blocks: list[Block] = field(default_factory=list[Block])
    started: Times = field(default_factory=Times.now)

    def objective(self, model: nn.Module, batch: Any, prepared: Any) -> Any:
        """Replace the stage's objective: keep the batch, and compute the same."""
        self.batches.append(batch)
        return type(self.loop.stage).objective(self.loop.stage, model, batch, prepared)

    def report(self, metrics: Mapping[str, float]) -> None:
        """Measure the recipe's block, and run the plain one."""
        if "loss" not in metrics:  # a validation
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
    """Return a request for the measured steps, with one validation at the end.

    Args:
        stage: name of the stage.
        options: options of the command line.
        folder: folder of all runs.
        sources: finished runs that the stage needs, by stage.
    """
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
    """Return all blocks of a stage except the first, and the precision."""
    prepare()
    from fairseq2.recipe import run

    from echox.recipes.base import StageRecipe
    from echox.recipes.config import LogConfig
    from echox.recipes.export import export
    from echox.recipes.launch import settle
    from echox.recipes.recorder import RunRecorder
    from echox.recipes.sections import to_sections

    stage, out = settle(request, stage_class(request.stage), text_columns(), write=True), Path(request.out)
    precision = stage.setting.config.parallel.precision
    turns = Turns(PlainLoop(stage, precision))
    stage.objective = turns.objective
    with logging_to_files():
        run(
            StageRecipe(stage, out, RunRecorder(out, LogConfig(), turns.report)),
            to_sections(stage.setting.config),
            out,
            no_rich=True,
        )
    export(stage, out)
    return turns.blocks[1:], precision


def cells(blocks: list[Block], steps: int, peak: float) -> list[str]:
    """Return one row of the table."""
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
    """Return median, lowest and highest."""
    found = [of(block) for block in blocks]
    return f"{median(found):.2f}x ({min(found):.2f} to {max(found):.2f})"


def gemm_peak(precision: str) -> float:
    """Return operations per second of the fastest of many matrix products."""
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
    """Return the model as the recipe makes it."""
    model = stage.build()
    stage.load(model)
    stage.freeze(model)
    if stage.setting.config.parallel.precision == "bf16":
        from echox.trainer.parallel import shrink_frozen

        shrink_frozen(model)
    return model.to(DEVICE).train()


if __name__ == "__main__":
    main()
