import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.engine.execution import ExecutionConfig, check_needs, worker_count, worker_needs
from pipelines.engine.pools.growth import Room, labelled
from pipelines.engine.session import Session
from pipelines.engine.step import Output, Process, Reject, Step, WorkUnit
from pipelines.errors import UserError
from pipelines.records import StepStatistics
from storage.receipts import Receipt, read_receipt
from storage.schemas import SCHEMAS
from storage.store import Store
from storage.tables import read_table


class Text(TypedDict):
    text: str


@dataclass(frozen=True)
class Spell(Step[Text]):
    """Texts -> one unit a letter; refuses digits, loses everything else, breaks down where a file is in the way.

    Attributes:
        diary: file where each work unit is noted; a file beside it that is named like a text is in the way.
    """

    name: ClassVar[str] = "spell"
    revision: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("units",)
    diary: str

    def open(self, store: Store) -> Process[Text]:
        self.note("open")
        return self.spell

    def note(self, text: str) -> None:
        with Path(self.diary).open("a") as file:
            file.write(f"{text}\n")

    def spell(self, payload: Text) -> Output:
        text = payload["text"]
        self.note(text)
        if Path(self.diary).with_name(text).exists():
            raise OSError(f"{text} is in the way")
        rows = [
            {"utterance_id": letter, "dataset": "d", "units": [ord(letter)], "durations": [1], "num_frames": 1}
            for letter in text
            if letter.isalpha()
        ]
        rejects = [Reject("d", letter, "digit", "no letter") for letter in text if letter.isdigit()]
        table = pa.Table.from_pylist(rows, SCHEMAS["units"])
        return Output([("units", table)], len(text), len(rows), rejects, StepStatistics(seconds=[float(len(text))]))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    with Session(store, ExecutionConfig(), None, Console(file=io.StringIO())) as session:
        yield session


@pytest.fixture
def step(tmp_path: Path) -> Spell:
    return Spell(str(tmp_path / "diary"))


def tasks(step: Spell, *texts: str) -> list[WorkUnit[Text]]:
    return [step.work_unit(text, Text(text=text), 1.0) for text in texts]


def run(session: Session, step: Spell, *texts: str, known: tuple[Receipt, ...] = ()) -> list[Receipt]:
    return session.run(step, tasks(step, *texts), speed=1.0, known=known)


def diary(step: Spell) -> list[str]:
    """Lines that the step wrote since the last call."""
    path = Path(step.diary)
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return lines


def files(store: Store) -> set[str]:
    return set(store.list("data"))


def test_receipts_stand_in_the_order_of_the_tasks(session: Session, step: Spell) -> None:
    run(session, step, "two")
    receipts = run(session, step, "one", "two", "three")
    assert diary(step) == ["open", "two", "open", "one", "three"]
    assert [receipt.stats["seconds"] for receipt in receipts] == [[3], [3], [5]]
    assert [receipt.fingerprint for receipt in receipts] == [t.fingerprint for t in tasks(step, "one", "two", "three")]


def test_a_work_unit_leaves_its_rows_rejects_and_receipt(session: Session, step: Spell, store: Store) -> None:
    (receipt,) = run(session, step, "a1b2c")
    assert (receipt.rows_in, receipt.rows_out, receipt.rejects) == (5, 3, {"digit": 2})
    assert [file.table for file in receipt.files] == ["units", "rejects"]
    assert read_table(store, receipt.files[0].path)["utterance_id"].to_pylist() == ["a", "b", "c"]
    rejects = read_table(store, receipt.files[1].path).to_pylist()
    assert [(row["source"], row["step"], row["reason"]) for row in rejects] == [
        ("1", "spell", "digit"),
        ("2", "spell", "digit"),
    ]


def test_what_is_finished_is_not_even_opened(session: Session, step: Spell) -> None:
    first = run(session, step, "one", "two")
    diary(step)
    assert run(session, step, "one", "two") == first
    assert diary(step) == []


def test_a_half_finished_step_goes_on_where_it_broke_down(
    session: Session, step: Spell, store: Store, tmp_path: Path
) -> None:
    texts = ("one", "two", "three", "four")
    obstacle = tmp_path / "three"
    obstacle.touch()
    with pytest.raises(OSError, match="three is in the way"):
        run(session, step, *texts)
    assert diary(step) == ["open", "one", "two", "three"]
    finished = [read_receipt(store, "spell", task.fingerprint) is not None for task in tasks(step, *texts)]
    assert finished == [True, True, False, False]
    obstacle.unlink()
    receipts = run(session, step, *texts)
    assert diary(step) == ["open", "three", "four"]
    assert [receipt.stats["seconds"] for receipt in receipts] == [[3], [3], [5], [4]]


def test_a_failing_task_leaves_nothing(session: Session, step: Spell, store: Store, tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    with pytest.raises(OSError, match="in the way"):
        run(session, step, "one")
    assert files(store) == set()


def test_a_step_that_loses_a_row_writes_nothing(session: Session, step: Spell, store: Store) -> None:
    with pytest.raises(AssertionError, match=r"step spell, work unit \w+: 3 rows in, 2 out and 0 rejected"):
        run(session, step, "a b")
    assert files(store) == set()


def test_a_work_unit_whose_file_is_gone_or_cut_short_is_done_again(session: Session, step: Spell, store: Store) -> None:
    gone, short, whole = run(session, step, "gone", "short", "whole")
    store.delete(gone.files[0].path)
    store.put(short.files[0].path, store.get(short.files[0].path)[:-1])
    diary(step)
    assert run(session, step, "gone", "short", "whole") == [gone, short, whole]
    assert diary(step) == ["open", "gone", "short"]
    assert len(store.get(short.files[0].path)) == short.files[0].bytes


def test_a_torn_receipt_does_not_count(session: Session, step: Spell, store: Store) -> None:
    (receipt,) = run(session, step, "one")
    path = f"data/receipts/spell/{receipt.fingerprint}.json"
    store.put(path, store.get(path)[:-10])
    diary(step)
    assert run(session, step, "one") == [receipt]
    assert diary(step) == ["open", "one"]


def test_known_receipts_are_taken_at_their_word(session: Session, step: Spell, store: Store) -> None:
    (receipt,) = run(session, step, "one")
    for path in files(store):
        store.delete(path)
    diary(step)
    assert run(session, step, "one", "two", known=(receipt,))[0] == receipt
    assert diary(step) == ["open", "two"]


def test_another_configuration_is_other_work(session: Session, step: Spell, tmp_path: Path) -> None:
    run(session, step, "one")
    other = Spell(str(tmp_path / "other"))
    run(session, other, "one")
    assert diary(other) == ["open", "one"]


@pytest.mark.parametrize(
    ("settings", "gpu", "there", "needs", "workers"),
    [
        ({}, False, {"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 0}, 8),
        ({}, True, {"CPU": 8}, {"CPU": 1, "GPU": 0}, 8),
        ({}, True, {"CPU": 8, "GPU": 2}, {"CPU": 4, "GPU": 1}, 2),
        ({"gpus_per_worker": 0.5, "cpus_per_gpu_worker": 1}, True, {"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 0.5}, 4),
        ({"gpus_per_worker": 0}, True, {"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 0}, 8),
        ({"gpus_per_worker": 1}, True, {"CPU": 8}, {"CPU": 4, "GPU": 1}, 1),  # an autoscaler may bring them
        ({"workers": 9}, False, {"CPU": 2}, {"CPU": 1, "GPU": 0}, 2),
        ({"resources": {"quantize": {"a": 0.5}}}, False, {"CPU": 8, "a": 1}, {"CPU": 1, "GPU": 0, "a": 0.5}, 2),
        ({"resources": {"encode": {"a": 0.5}}}, False, {"CPU": 8}, {"CPU": 1, "GPU": 0}, 8),
        ({"workers": 1}, True, {"CPU": 8, "GPU": 2}, {"CPU": 4, "GPU": 1}, 1),
        ({}, True, {"CPU": 4, "GPU": 2}, {"CPU": 4, "GPU": 1}, 1),
    ],
)
def test_workers_take_gpus_where_there_are_any(
    settings: dict[str, Any], gpu: bool, there: dict[str, float], needs: dict[str, float], workers: int
) -> None:
    config = ExecutionConfig(**settings)
    assert worker_needs(config, "quantize", gpu, there) == needs
    assert worker_count(config, 100, needs, Room(there, {})) == workers
    assert worker_count(config, 1, needs, Room(there, {})) == 1


GROWS = {"CPU": 64.0, "GPU": 4.0}


@pytest.mark.parametrize(
    ("settings", "gpu", "there", "most", "hours", "needs", "workers"),
    [
        ({}, False, {}, GROWS, 5, {"CPU": 1, "GPU": 0}, 15),  # from nothing: 20 minutes of work each
        ({}, False, {"CPU": 32}, GROWS, 5, {"CPU": 1, "GPU": 0}, 32),  # what is there is used
        ({}, False, {"CPU": 32}, GROWS, 500, {"CPU": 1, "GPU": 0}, 64),
        ({"minutes_per_worker": 10}, False, {}, GROWS, 5, {"CPU": 1, "GPU": 0}, 30),
        ({"workers": 8}, False, {}, GROWS, 500, {"CPU": 1, "GPU": 0}, 8),
        ({"workers": 80}, False, {"CPU": 2}, {}, 500, {"CPU": 1, "GPU": 0}, 80),  # the label is missing: as configured
        ({"workers": 80}, False, {"CPU": 2}, {}, 5, {"CPU": 1, "GPU": 0}, 15),
        ({}, False, {"CPU": 2}, {}, 500, {"CPU": 1, "GPU": 0}, 2),
        ({}, True, {"CPU": 32}, GROWS, 500, {"CPU": 4, "GPU": 1}, 4),
        ({}, True, {"CPU": 32}, GROWS, 40, {"CPU": 4, "GPU": 1}, 2),  # a GPU counts as many cores
        ({}, True, {"CPU": 32}, GROWS, 1, {"CPU": 4, "GPU": 1}, 1),
        ({}, True, {"CPU": 32}, {"CPU": 64.0}, 500, {"CPU": 1, "GPU": 0}, 64),
        ({"gpus_per_worker": 0}, True, {}, GROWS, 500, {"CPU": 1, "GPU": 0}, 64),
        ({"memory_per_worker": 1}, False, {}, GROWS, 500, {"CPU": 1, "GPU": 0, "memory": 2**30}, 64),
    ],
)
def test_a_pool_is_as_large_as_its_work_is_worth(
    settings: dict[str, Any],
    gpu: bool,
    there: dict[str, float],
    most: dict[str, float],
    hours: float,
    needs: dict[str, float],
    workers: int,
) -> None:
    config, room = ExecutionConfig(**settings), Room(there, most)
    assert worker_needs(config, "quantize", gpu, room.reach) == needs
    assert worker_count(config, 10_000, needs, room, hours * 3600) == workers
    assert worker_count(config, 1, needs, room, hours * 3600) == 1


def test_labels_of_living_nodes_say_how_far_a_cluster_grows() -> None:
    head = {"Alive": True, "Labels": {"echox/most-CPU": "256", "echox/most-GPU": "4", "ray.io/node-id": "1"}}
    dead = {"Alive": False, "Labels": {"echox/most-CPU": "1024"}}
    assert labelled([head, dead, {"Alive": True, "Labels": None}]) == {"CPU": 256, "GPU": 4}
    with pytest.raises(UserError, match="label echox/most-GPU=four of a node must be a number"):
        labelled([{"Alive": True, "Labels": {"echox/most-GPU": "four"}}])


def test_this_machine_does_not_grow() -> None:
    needs = worker_needs(ExecutionConfig(gpus_per_worker=0.5), "quantize", True, {"CPU": 8})
    with pytest.raises(UserError, match=r"run.gpus_per_worker: a worker would need 0.5 GPU, this machine has 0"):
        check_needs(needs, {"CPU": 8}, None)
    check_needs(needs, {"CPU": 8}, "head:6379")


def test_memory_limits_the_workers_that_share_a_machine() -> None:
    there = {"CPU": 8.0, "memory": 16 * 2**30}
    needs = worker_needs(ExecutionConfig(memory_per_worker=6), "quantize", False, there)
    assert worker_count(ExecutionConfig(), 100, needs, Room(there, {})) == 2
    check_needs(needs, there, None)
    with pytest.raises(UserError, match=r"run.memory_per_worker: .* need 6 GiB of memory, this machine has 4"):
        check_needs(needs, {"CPU": 8, "memory": 4 * 2**30}, None)
