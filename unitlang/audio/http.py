"""Files and folders of HTTP servers, with patience: what may be the server's mood is tried again before it counts.

fsspec takes every failed request for a missing file; here only 404 and 410 mean that.
"""
# fsspec has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# Its own subclasses override each other's methods with other parameters.
# pyright: reportIncompatibleMethodOverride=false

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from io import BytesIO
from tempfile import SpooledTemporaryFile
from types import SimpleNamespace
from typing import Any, BinaryIO, TypeVar, cast

import aiohttp
from fsspec.asyn import sync_wrapper
from fsspec.implementations.http import HTTPFileSystem
from fsspec.spec import AbstractBufferedFile

from unitlang.audio.confinement import is_confined, origin
from unitlang.errors import AudioError, Unreachable
from unitlang.urls import redacted

T = TypeVar("T")

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try, about 30 s in all; up to twice as long, so that workers do not come all at once."""
LONGEST_PAUSE = 60.0
"""Seconds: the most that a server's `Retry-After` is obeyed."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=60)
"""Patience with one request, in seconds: to connect, and between two pieces of the answer."""
BLOCK_BYTES = 5 << 20
"""Bytes of one request."""
GONE = (404, 410)
"""Answers that say that there is no such file."""
WORTH_ANOTHER_TRY = frozenset({403, 408, 409, 423, 425, 429})
"""Answers below 500 that may change: busy servers and their guards give 403 too."""

_RANGE = re.compile(r"bytes \d+-\d+/(\d+)")


class PatientHTTP(HTTPFileSystem):
    """fsspec's file system with retries, true errors, and files of servers that send no parts of a file.

    Raises:
        FileNotFoundError: the server says that there is no such file.
        Unreachable: it gives no whole answer, after all retries.
        ValueError: it is no URL.
    """

    def __init__(self, **options: Any) -> None:
        # Of the environment come proxies, and passwords in .netrc.
        client = {"timeout": TIMEOUT, "trust_env": True, "trace_configs": [_watching_redirects()]}
        super().__init__(client_kwargs=client, **options)

    async def _ls_real(self, url: str, detail: bool = True, **options: Any) -> Any:
        return await _patiently(url, lambda: super(PatientHTTP, self)._ls_real(url, detail, **options))

    async def _isdir(self, path: str) -> bool:
        try:
            return bool(await self._ls(path))
        except AudioError:  # a server that leads elsewhere; fsspec would say that there is no folder
            raise
        except (FileNotFoundError, ValueError):
            return False

    async def _find(self, path: str, **options: Any) -> Any:
        return await super()._find(path, on_error="raise", **options)

    async def _info(self, url: str, **_: Any) -> dict[str, Any]:
        return {"name": url, "size": await _patiently(url, lambda: self._size_of(url)), "type": "file"}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> BinaryIO:
        size = self.info(path)["size"]
        if size is None:
            return cast(BinaryIO, self.fetched(path))
        return cast(
            BinaryIO, HttpFile(self, path, mode, block_size=cast(Any, BLOCK_BYTES), size=size) if size else BytesIO()
        )

    async def _size_of(self, url: str) -> int | None:
        """Size in bytes; None if the server does not send parts of the file."""
        async with await self._answer(url, 0, 1) as answer:
            if answer.status == 416:  # there is no first byte
                return 0
            self._raise_not_found_for_status(answer)
            stated = _RANGE.match(answer.headers.get("Content-Range", ""))
            return int(stated[1]) if answer.status == 206 and stated else None

    async def _part(self, url: str, start: int, end: int, size: int) -> bytes:
        """Bytes from `start` to `end` of a file of `size` bytes."""
        return await _patiently(url, lambda: self._whole_part(url, start, end, size))

    part = sync_wrapper(_part)

    async def _whole_part(self, url: str, start: int, end: int, size: int) -> bytes:
        async with await self._answer(url, start, end) as answer:
            self._raise_not_found_for_status(answer)
            stated = _RANGE.match(answer.headers.get("Content-Range", ""))
            if answer.status != 206 or not stated or int(stated[1]) != size:
                raise aiohttp.ClientPayloadError("the file changed while it was read")
            data = await answer.read()
        if len(data) != end - start:
            raise aiohttp.ClientPayloadError(f"{len(data)} bytes came instead of {end - start}")
        return data

    async def _fetched(self, url: str) -> BinaryIO:
        """The whole file as a temporary one, in memory as long as it is small."""
        return await _patiently(url, lambda: self._whole_file(url))

    fetched = sync_wrapper(_fetched)

    async def _whole_file(self, url: str) -> BinaryIO:
        file = SpooledTemporaryFile(BLOCK_BYTES)  # noqa: SIM115 - the caller closes it
        async with await self._answer(url) as answer:
            self._raise_not_found_for_status(answer)
            async for data in answer.content.iter_chunked(1 << 20):
                file.write(data)
        file.seek(0)
        return cast(BinaryIO, file)

    async def _answer(self, url: str, start: int | None = None, end: int = 0) -> aiohttp.ClientResponse:
        headers = {"Accept-Encoding": "identity"} | ({} if start is None else {"Range": f"bytes={start}-{end - 1}"})
        session = await self.set_session()
        return await session.get(self.encode_url(url), headers=headers)

    def _raise_not_found_for_status(self, response: aiohttp.ClientResponse, url: str = "") -> None:  # noqa: ARG002
        if response.status in GONE:
            raise FileNotFoundError(f"the server answers {response.status} {response.reason}")
        response.raise_for_status()


def _watching_redirects() -> aiohttp.TraceConfig:
    """Hooks of a client that refuse redirects of confined servers to others, before anything is asked there."""
    hooks = aiohttp.TraceConfig()
    hooks.on_request_redirect.append(_check_redirect)
    return hooks


async def _check_redirect(
    session: aiohttp.ClientSession, context: SimpleNamespace, redirect: aiohttp.TraceRequestRedirectParams
) -> None:
    del session, context
    asked, headers = redirect.response.url, redirect.response.headers
    if not is_confined(origin(str(asked))):
        return
    target = asked.join(type(asked)(headers.get("Location") or headers.get("URI") or ""))
    if _server(target) == _server(asked) and not (target.user or target.password):
        return
    told = "`confine` is set, and the server redirects to another scheme, host, port or user"
    raise AudioError("outside", f"{told}: {redacted(str(target.with_query(None)))}", redacted(str(asked)))


def _server(url: Any) -> tuple[Any, ...]:
    return url.scheme, url.host, url.port


class HttpFile(AbstractBufferedFile):
    """A file of a server, read in parts."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.part(self.path, start, end, self.size)


async def _patiently(url: str, call: Callable[[], Awaitable[T]]) -> T:
    """Return what the call returns; call again after pauses while its failure may pass.

    Raises:
        Unreachable: the last failure.
        FileNotFoundError, ValueError: at once.
    """
    for pause in (*PAUSES, None):
        try:
            return await call()
        except aiohttp.InvalidURL as error:
            raise ValueError(f"not a URL: {redacted(str(error))}") from error
        except Unreachable:
            raise
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            if pause is None or not _may_pass(error):
                remedy = "build again to go on when the server answers"
                raise Unreachable(f"{redacted(url)}: {told(error)}; {remedy}") from error
            await asyncio.sleep(max(pause * random.uniform(1, 2), _asked_pause(error)))  # noqa: S311 - no secret
    raise AssertionError("the last try returns or raises")


def told(error: BaseException) -> str:
    """The failure for a person, without the URLs in the client's own messages: redirects add signatures to them."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"the server answers {error.status} {error.message}"
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    return redacted(f"{type(error).__name__}: {error}")


def _may_pass(error: BaseException) -> bool:
    if not isinstance(error, aiohttp.ClientResponseError):
        return True
    return error.status >= 500 or error.status in WORTH_ANOTHER_TRY or error.status < 300


def _asked_pause(error: BaseException) -> float:
    """Seconds that the server asks for in `Retry-After`, as a number or a date; 0 if it does not."""
    headers = error.headers if isinstance(error, aiohttp.ClientResponseError) else None
    asked = (headers or {}).get("Retry-After", "")
    try:
        seconds = float(asked) if asked.isdecimal() else parsedate_to_datetime(asked).timestamp() - time.time()
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE)
