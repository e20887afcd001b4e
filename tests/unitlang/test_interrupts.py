"""An interrupt of decoding is raised, and never changes the decoded samples."""

import signal
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import ClassVar, NoReturn

import fsspec  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import pytest
import soundfile

from unitlang.audio.reading import Segment, load, probe, stream_segments
from unitlang.audio.resampling import Resampler
from unitlang.interrupts import patient_signals, uninterrupted

NOISE = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
ROUNDS = 150


def encode(kind: str) -> bytes:
    file = BytesIO()
    soundfile.write(file, NOISE, 16_000, format=kind)
    return file.getvalue()


FLAC = encode("FLAC")
NOISE_OF_FLAC = load(FLAC)


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """Signals whose handlers, which raise KeyboardInterrupt, have run."""
    numbers: list[int] = []

    def handler(number: int, _: FrameType | None) -> NoReturn:
        numbers.append(number)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGALRM)}
    yield numbers
    for number, old in before.items():
        signal.signal(number, old)


def loaded(path: Path, seconds: float) -> np.ndarray | None:
    """The samples, or None where KeyboardInterrupt comes out: a signal is sent after some time."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return load(path)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("patient", [True, False])
@pytest.mark.parametrize("kind", ["FLAC", "WAV", "MP3"])
def test_no_moment_changes_the_samples(kind: str, patient: bool, tmp_path: Path, handled: list[int]) -> None:
    path = tmp_path / "speech"
    path.write_bytes(encode(kind))
    expected = load(path)
    lost = stopped = 0
    for number in range(ROUNDS):
        handled.clear()
        with patient_signals() if patient else nullcontext():
            found = loaded(path, 1e-5 * (number + 1))
        if found is None:
            stopped += 1
        else:
            np.testing.assert_array_equal(found, expected)
            lost += len(handled)
    assert stopped
    assert not (patient and lost)


class Interrupting(BytesIO):
    """A remote file of which a read, of those there are, is interrupted."""

    at: ClassVar[int | None] = None
    error: ClassVar[type[BaseException] | None] = None

    def read(self, size: int | None = -1, /) -> bytes:
        if Interrupting.at is not None:
            Interrupting.at -= 1
            if Interrupting.at < 0:
                Interrupting.at = None
                if Interrupting.error is not None:
                    raise Interrupting.error
                signal.raise_signal(signal.SIGINT)
        return super().read(size)


class InterruptingPlace(fsspec.AbstractFileSystem):  # pyright: ignore[reportUntypedBaseClass]
    """Files at `interrupting://`."""

    def _open(self, *_: object, **__: object) -> Interrupting:  # pyright: ignore[reportIncompatibleMethodOverride]
        return Interrupting(FLAC)


@pytest.fixture
def remote() -> Iterator[str]:
    fsspec.register_implementation("interrupting", InterruptingPlace, clobber=True)  # pyright: ignore
    yield "interrupting://speech.flac"
    Interrupting.at = Interrupting.error = None


@pytest.mark.parametrize("read", [0, 1, 2, 3])
@pytest.mark.parametrize("work", [load, probe])
def test_remote_files_stop_at_every_read(
    remote: str, handled: list[int], work: Callable[[str], object], read: int
) -> None:
    Interrupting.at = read
    try:
        work(remote)
    except KeyboardInterrupt:
        assert handled == [signal.SIGINT]
    else:
        assert Interrupting.at is not None, "the interrupt was lost"
    np.testing.assert_array_equal(load(FLAC), NOISE_OF_FLAC)


@pytest.mark.parametrize("error", [CancelledError, SystemExit])
def test_what_a_remote_file_raises_comes_out(remote: str, error: type[BaseException]) -> None:
    Interrupting.at, Interrupting.error = 1, error
    with pytest.raises(error):
        load(remote)


def test_other_segments_are_whole_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    data, segments = encode("MP3"), list[Segment]([(0, 5_000), (9_000, 9_000), (20_000, 9_000)])
    expected = [load(data, offset_samples=at, num_samples=num) for at, num in segments]
    push = Resampler.push
    found: list[np.ndarray] = []
    for number, blocks in enumerate(stream_segments(data, segments)):
        if number == 1:
            monkeypatch.setattr(Resampler, "push", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(blocks)
            monkeypatch.setattr(Resampler, "push", push)
        else:
            found.append(np.concatenate(list(blocks)))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate([expected[0], expected[2]]))


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def test_a_signal_waits_and_a_second_one_does_not(handled: list[int]) -> None:
    seen: list[int] = []

    def work(signals: int) -> None:
        for _ in range(signals):
            signal.raise_signal(signal.SIGINT)
            seen.append(len(handled))

    with patient_signals():
        with pytest.raises(KeyboardInterrupt):
            uninterrupted(work, 1)
        assert (seen, len(handled)) == ([0], 1)
        with pytest.raises(KeyboardInterrupt):
            uninterrupted(work, 2)
        assert (seen, len(handled)) == ([0, 1], 3)


def test_handlers_are_left_as_they_were(handled: list[int]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with patient_signals(), patient_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert handled == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before
    with patient_signals():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_work_as_they_do(remote: str) -> None:
    with ThreadPoolExecutor(1) as thread:
        np.testing.assert_array_equal(thread.submit(load, remote).result(), NOISE_OF_FLAC)
