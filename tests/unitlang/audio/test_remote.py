"""Audio of HTTP servers: what may pass is tried again, and is never taken for a fault of the file."""

import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import soundfile

from tests.flaky import Fault, FlakyServer, always, once, serving, sometimes
from tests.speech import RATE, voice
from unitlang.audio import http
from unitlang.audio.reading import measure, stream
from unitlang.errors import AudioError, Unreachable

pytestmark = pytest.mark.slow

FAULTS: list[Fault] = [403, 429, 500, 502, 503, "reset", "half", "slow"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FlakyServer]:
    """A server with audio; clients lose patience soon."""
    monkeypatch.setattr(http, "PAUSES", (0.01,) * 4)
    monkeypatch.setattr(http, "TIMEOUT", aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=1))
    http.PatientHTTP.clear_instance_cache()
    with serving() as server:
        for suffix in ("wav", "flac", "ogg", "mp3"):
            path = tmp_path / f"a.{suffix}"
            soundfile.write(path, np.tile(voice(2.0, 1), 8), RATE)
            server.files[f"/a.{suffix}"] = path.read_bytes()
        yield server
    http.PatientHTTP.clear_instance_cache()


def samples_of(source: str | bytes) -> np.ndarray:
    return np.concatenate(list(stream(source)))


@pytest.mark.parametrize("fault", [*FAULTS, "short"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_passing_fault_changes_no_sample(server: FlakyServer, fault: Fault, ranges: bool) -> None:
    if fault == "short" and not ranges:
        pytest.skip("without ranges nobody can tell a short file from a whole one")
    server.ranges = ranges
    for plan in (once(fault),) if fault == "slow" else (once(fault), sometimes(fault)):
        server.plan = plan
        server.asked.clear()
        for name in ("/a.wav",) if fault == "slow" else ("/a.wav", "/a.ogg"):
            assert np.array_equal(samples_of(server.url + name), samples_of(server.files[name]))
            assert server.asked[name] > 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_is_none_of_the_file(server: FlakyServer, fault: Fault) -> None:
    server.plan = always(fault)
    with pytest.raises(Unreachable, match=rf"{server.url}/a.wav: .*build again") as caught:
        measure(f"{server.url}/a.wav")
    if isinstance(fault, int):
        assert f"the server answers {fault}" in str(caught.value)


@pytest.mark.parametrize("name", ["/a.wav", "/a.flac", "/a.ogg", "/a.mp3"])
def test_a_fault_in_the_middle_of_decoding_never_makes_a_file_corrupt(
    server: FlakyServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BLOCK_BYTES", 1)  # a request for each read of FFmpeg
    monkeypatch.setattr(http, "PAUSES", ())
    whole = samples_of(server.files[name])
    total = 0
    while True:  # the n-th answer and all after it fail, until none does; n grows by one, later by a sixth
        server.asked.clear()
        server.plan = lambda _path, number, last=total: 503 if number >= last else None
        try:
            assert np.array_equal(samples_of(server.url + name), whole)
            break
        except Unreachable:
            total += 1 + total // 6
    assert total > 3


@pytest.mark.parametrize("status", [404, 410])
def test_only_an_absent_file_is_missing(server: FlakyServer, status: int) -> None:
    server.plan = always(status)
    with pytest.raises(AudioError, match=str(status)) as caught:
        measure(f"{server.url}/a.wav")
    assert caught.value.reason == "missing"
    assert server.asked["/a.wav"] == 1


@pytest.mark.parametrize("status", [400, 401, 405, 451])
def test_other_refusals_stop_at_once(server: FlakyServer, status: int) -> None:
    server.plan = always(status)
    with pytest.raises(Unreachable, match=str(status)):
        measure(f"{server.url}/a.wav")
    assert server.asked["/a.wav"] == 1


def test_no_server_and_no_name_are_faults_of_the_moment(server: FlakyServer) -> None:
    for url in ("http://127.0.0.1:9/a.wav", "http://no-such-host.invalid/a.wav"):
        with pytest.raises(Unreachable, match=url):
            measure(url)


def test_a_server_may_ask_for_time(server: FlakyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.plan, server.retry_after = once(429), "1"
    begun = time.monotonic()
    measure(f"{server.url}/a.wav")
    assert 1 <= time.monotonic() - begun < 5
    monkeypatch.setattr(http, "LONGEST_PAUSE", 0.1)
    server.retry_after = "86400"
    server.asked.clear()
    begun = time.monotonic()
    measure(f"{server.url}/a.wav")
    assert time.monotonic() - begun < 5


def test_empty_files_and_files_that_change_while_they_are_read(
    server: FlakyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/empty.wav"] = b""
    with pytest.raises(AudioError) as caught:
        measure(f"{server.url}/empty.wav")
    assert caught.value.reason == "empty_file"
    monkeypatch.setattr(http, "BLOCK_BYTES", 4096)
    file = http.PatientHTTP().open(f"{server.url}/a.wav", "rb")
    file.read(10)
    server.files["/a.wav"] = server.files["/a.wav"][:-4000]
    file.seek(30_000)
    with pytest.raises(Unreachable, match="changed while it was read"):
        file.read(10)


@pytest.mark.parametrize(
    "url",
    [
        "dir://x::file:///etc",
        "nonsense://x/y.wav",
        "http://",
        "http://[::1/a.wav",
        "http://host:port/a.wav",
        "hf://",
        "webhdfs://",
        "s3://Bad_Bucket!/a.wav",
        "zip://a.wav",
        "reference://a",
    ],
)
def test_an_odd_url_is_a_fault_of_its_own(url: str) -> None:
    with pytest.raises(AudioError) as caught:
        measure(url)
    assert caught.value.reason == "missing"
