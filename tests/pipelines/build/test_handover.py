"""A build one step at a time gives what a build in one go gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.build.commit import Built
from pipelines.build.handover import STEP_NAMES, Handover, advance, begin, built
from pipelines.build.runners import step_runner
from pipelines.cluster.jobs import Job, Jobs
from pipelines.config.build import BuildConfig, check_config
from pipelines.engine.session import Session
from pipelines.errors import UserError
from storage.errors import CommitConflict
from storage.store import Store
from storage.versions import latest

Config = dict[str, Any]


def checked(config: Config, **changes: Any) -> BuildConfig:
    return check_config({**config, **changes}, "test", Path.cwd())


def step(handover: Handover, name: str, config: BuildConfig) -> Handover:
    """Each step in a session of its own, as jobs have."""
    with Session(Store.open(handover.store), config.run, None, Console(quiet=True)) as session:
        return advance(handover, name, session)


def steps(handover: Handover, config: BuildConfig, names: tuple[str, ...] = STEP_NAMES) -> Handover:
    for name in names:
        handover = step(Handover(**handover.to_dict()), name, config)
    return handover


def states(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in (store / "builds").rglob("*.json"))


def test_step_by_step(config: Config, run_build: Callable[..., Built], tmp_path: Path) -> None:
    whole = run_build({**config, "store": str(tmp_path / "whole")})
    one_by_one = checked(config)
    done = steps(begin(one_by_one), one_by_one)
    assert built(done).version.steps == whole.version.steps
    assert built(done).version.artifacts == whole.version.artifacts
    assert (built(done).new, built(done).changes.new, built(done).changes.kept) == (True, 12, 0)
    assert done.facts["version"] == 1


def test_a_commit_that_was_done_already_is_found_again(config: Config) -> None:
    checked_config = checked(config)
    before = steps(begin(checked_config), checked_config, STEP_NAMES[:-1])
    first = step(before, "commit", checked_config)
    again = step(before, "commit", checked_config)  # as after a crash between commit and report, or of a twin
    assert built(again).version == built(first).version
    assert latest(Store.open(config["store"])) == built(first).version


def test_another_build_that_was_first_is_told(config: Config) -> None:
    one, other = checked(config), checked(config, unit_language={"vocab_size": 50})
    late = steps(begin(other), other, STEP_NAMES[:-1])
    steps(begin(one), one)
    with pytest.raises(CommitConflict, match="another build committed version 1"):
        step(late, "commit", other)


def test_states_that_can_no_longer_commit_are_swept(
    config: Config, make_speech: Callable[..., Path], tmp_path: Path
) -> None:
    speech = make_speech(tmp_path / "speech", 8)
    growing = checked(config, sources=[{"kind": "folder", "path": str(speech), "dataset": "clips"}])
    store = Path(config["store"])
    for number in range(3):
        steps(begin(growing), growing)
        make_speech(speech, 1, start=100 + number)
    assert {path.split("/")[1] for path in states(store)} == {"00000001", "00000002"}
    begin(growing)
    assert {path.split("/")[1] for path in states(store)} == {"00000002", "00000003"}


def test_the_same_work_has_the_same_name() -> None:
    def prefix(**changes: Any) -> str:
        return Job(**{"work": "steps", "arguments": {"a": 1}, "name": "build", "key": ["/s", "b"], **changes}).prefix

    assert prefix() == prefix(arguments={"a": 2}, position=3, metadata={"by": "me"})
    assert prefix().startswith("echox-build-")
    assert len({prefix(), prefix(key=["/s", "c"]), prefix(work="train")}) == 3


@pytest.mark.parametrize("address", ["http://", "head:8265", "http://head:8265/api"])
def test_an_address_of_no_job_server_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"http://HOST:PORT"):
        Jobs(address)


def test_a_job_server_that_does_not_answer_is_told(config: Config) -> None:
    with (
        pytest.raises(UserError, match="no Ray job server answers there"),
        step_runner(checked(config), "http://127.0.0.1:1", Console(quiet=True)),
    ):
        raise AssertionError("unreachable")
