"""Every way to train a stage on two workers: what is trained, strategy, precision, recomputed activations.

The workers are forked from a process that has imported everything, because a run takes seconds and the imports ten.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import combinations, product
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import yaml

from echox.architectures import ARCHITECTURES, dump_architecture
from echox.training import TrainingRequest, train
from tests.echox.runs import ask, losses, metrics

QUICK = ("schedule.steps=8", "data.valid_batches=2")
SETTINGS = {
    "t2c": ("valid_words=24",),
    "s2t": ("max_new_tokens=12",),
    "echo": ("max_new_tokens=12", "max_words=24"),
}
KILL_AT = 6
"""A step between the checkpoints of steps 4 and 8."""
SECONDS = 300

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["echox.data.readers", "echox.recipes.launch", "transformers.models.whisper.modeling_whisper"]
)


@dataclass(frozen=True)
class Cell:
    """One way to train a stage.

    Attributes:
        stage: name of the stage.
        learns: what of S2T is trained: `lora` with a frozen encoder, `all`, or `nothing`.
        strategy, precision, recomputed: as in the settings.
    """

    stage: str
    learns: str
    strategy: str = "ddp"
    precision: str = "fp32"
    recomputed: bool = False

    @property
    def reference(self) -> "Cell":
        """The same training with the plainest strategy and precision."""
        return Cell(self.stage, self.learns)

    def __str__(self) -> str:
        again = "recomputed" if self.recomputed else "kept"
        return "-".join((self.stage, self.learns, self.strategy, self.precision, again))


TRAINED = (
    ("t2c", "nothing"),
    ("s2t", "lora"),
    ("s2t", "all"),
    ("echo", "nothing"),
    ("echo", "lora"),
    ("echo", "all"),
)
CELLS = tuple(
    Cell(*trained, strategy, precision, recomputed)
    for trained, strategy, precision, recomputed in product(TRAINED, ("ddp", "fsdp"), ("fp32", "bf16"), (False, True))
)


def pairwise(cells: Sequence[Cell]) -> list[Cell]:
    """Few of the cells, in which every two values that occur together in any cell still do."""
    left = {pair for cell in cells for pair in _pairs(cell)}
    chosen: list[Cell] = []
    while left:
        best = max(cells, key=lambda cell: len(left & _pairs(cell)))
        chosen.append(best)
        left -= _pairs(best)
    return chosen


def _pairs(cell: Cell) -> set[tuple[Any, ...]]:
    trained, *others = (cell.stage, cell.learns), *astuple(cell)[2:]
    return set(combinations(enumerate((trained, *others)), 2))


@dataclass(frozen=True)
class Found:
    """Result of a cell's training.

    Attributes:
        losses: training's loss by step.
        validation: loss of the last validation.
        resumed: largest relative difference of a step's loss before the kill and after the resume.
        apart: largest relative difference of a step's loss from the reference's.
    """

    losses: dict[float, float]
    validation: float
    resumed: float
    apart: float


class Matrix:
    """Runs of cells on two workers, in a folder.

    Args:
        corpus: STORE@VERSION.
        folder: for the runs.
    """

    def __init__(self, corpus: str, folder: Path) -> None:
        self.corpus = corpus
        self.folder = folder
        self._references: dict[Cell, Found] = {}

    def run(self, cell: Cell) -> Found:
        """Train, kill the workers after the first checkpoint, resume, and compare with the reference."""
        if cell in self._references:
            return self._references[cell]
        out = self.folder / str(cell)
        request = self._request(cell, out)
        run_workers(request, kill_at=KILL_AT)
        before = losses(out)
        run_workers(request)
        after, last = losses(out), metrics(out)[-1]
        assert max(after) > max(before) >= KILL_AT, "it was not killed in between"
        reference = after if cell == cell.reference else self.run(cell.reference).losses
        found = Found(after, last["valid/loss"], _apart(before, after), _apart(reference, after))
        if cell == cell.reference:
            self._references[cell] = found
        return found

    def _request(self, cell: Cell, out: Path) -> TrainingRequest:
        learning = (f"loss.s2t_weight={int(cell.learns != 'nothing')}",) if cell.stage == "echo" else ()
        sources = {stage: str(self._source(stage, cell)) for stage in ("s2t", "t2c") if cell.stage == "echo"}
        parallel = {
            "strategy": cell.strategy,
            "precision": cell.precision,
            "activation_checkpointing": cell.recomputed,
        }
        settings = (
            *QUICK,
            *SETTINGS[cell.stage],
            *learning,
            f"parallel={yaml.safe_dump(parallel, default_flow_style=True)}",
        )
        return replace(ask(cell.stage, self.corpus, out, *settings, **sources), architecture=self._architecture(cell))

    def _architecture(self, cell: Cell) -> str:
        """`tiny`, in which all is trained, or the same with a frozen encoder and LoRA."""
        if cell.learns == "all":
            return "tiny"
        path, tiny = self.folder / "lora.yaml", ARCHITECTURES["tiny"]
        frozen = replace(tiny, encoder=replace(tiny.encoder, trainable=False), llm=replace(tiny.llm, trainable="lora"))
        path.write_text(yaml.safe_dump(dump_architecture(frozen)))
        return str(path)

    def _source(self, stage: str, cell: Cell) -> Path:
        out = self.folder / f"source-{stage}-{'all' if cell.learns == 'all' else 'lora'}"
        if not out.exists():
            request = ask(stage, self.corpus, out, *QUICK, *SETTINGS[stage])
            run_workers(replace(request, architecture=self._architecture(cell)), workers=1)
        return out


def run_workers(request: TrainingRequest, *, workers: int = 2, kill_at: int = 0) -> None:
    """Train in so many processes of one group; rank 0 kills itself at step `kill_at`, and then the others are killed.

    Raises:
        AssertionError: a worker ended otherwise than it should; holds the end of its log.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, f"rank{rank}.log") for rank in range(workers)]
        group = {"WORLD_SIZE": str(workers), "LOCAL_WORLD_SIZE": str(workers), **_rendezvous()}
        started = [
            CONTEXT.Process(
                target=_work,
                args=(request, {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)}, kill_at, log),
                daemon=True,
            )
            for rank, log in enumerate(logs)
        ]
        for process in started:
            process.start()
        codes = _ended(started)
        expected = [-signal.SIGKILL] * workers if kill_at else [0] * workers
        assert codes == expected, "\n".join([f"{request}: {codes}", *(log.read_text()[-3000:] for log in logs)])


def _rendezvous() -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}


def _ended(processes: Sequence[Any]) -> list[int | None]:
    """Exit codes; once a process fails, or time is up, the others are killed."""
    running = {process.sentinel: process for process in processes}
    while running:
        ended = wait(list(running), timeout=SECONDS)
        done = [running.pop(sentinel) for sentinel in ended if isinstance(sentinel, int)]
        for process in done:
            process.join()
        if not done or any(process.exitcode for process in done):
            for process in running.values():
                process.kill()
    return [process.exitcode for process in processes]


def _work(request: TrainingRequest, environment: dict[str, str], kill_at: int, log: Path) -> None:
    os.environ.update(environment)
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())

    def report(values: Any) -> None:
        checkpoints = Path(request.out, "checkpoints").glob("step_*[0-9]")
        if 0 < kill_at <= values["step"] and next(checkpoints, None):
            os.kill(os.getpid(), signal.SIGKILL)

    train(request, report)


def _apart(wanted: Mapping[float, float], found: Mapping[float, float]) -> float:
    return max(abs(found[step] - loss) / abs(loss) for step, loss in wanted.items())
