"""An HTTP server on this machine that fails as servers do."""

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = int | str
"""A status to answer, or `reset`, `half`, `short`, `slow`."""
Plan = Callable[[str, int], Fault | None]
"""From the path and the number of the request for it (from 0) to the fault of the answer; None = a good one."""


class FlakyServer(ThreadingHTTPServer):
    """Serves `files` by path, and listings of folders; `plan` says which answers fail.

    Attributes:
        files: contents by path, e.g. `/a/b.wav`.
        plan: see `Plan`.
        ranges: whether parts of files are sent.
        retry_after: value of that header beside failures.
        redirects: where clients are led to, by path.
        asked: number of requests by path.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.plan: Plan = lambda _path, _number: None
        self.ranges = True
        self.retry_after = ""
        self.credentials = ""
        self.redirects: dict[str, str] = {}
        self.asked: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that left."""


class _Handler(BaseHTTPRequestHandler):
    server: FlakyServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        number = self.server.asked[path]
        self.server.asked[path] += 1
        if target := self.server.redirects.get(path):
            self._lead(target)
            return
        fault = self.server.plan(path, number)
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif isinstance(fault, int):
            self._refuse(fault)
        elif path in self.server.files:
            self._send(self.server.files[path], fault)
        else:
            self._list(path, fault)

    def _lead(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        if self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _list(self, folder: str, fault: Fault | None) -> None:
        prefix = folder.rstrip("/") + "/"
        below = {name.removeprefix(prefix) for name in self.server.files if name.startswith(prefix)}
        if not below:
            self._refuse(404)
            return
        names = sorted({name.partition("/")[0] + ("/" if "/" in name else "") for name in below})
        page = "".join(f'<a href="{name}">{name}</a>\n' for name in names).encode()
        self._send(page, fault, kind="text/html")

    def _send(self, data: bytes, fault: Fault | None, kind: str = "application/octet-stream") -> None:
        asked = self.headers.get("Range") if self.server.ranges and kind != "text/html" else None
        body = data
        if asked:
            start, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            body = data[start : end + 1]
            self.send_response(206 if body else 416)
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", kind)
        if fault == "short":  # honest about its length, but less than was asked for
            body = body[: len(body) // 2]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "slow":
            time.sleep(3)
        self.wfile.write(body[: len(body) // 2] if fault == "half" else body)
        if fault == "half":
            self.close_connection = True


@contextmanager
def serving() -> Generator[FlakyServer]:
    """Run a server as long as the block lasts."""
    with FlakyServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def once(fault: Fault) -> Plan:
    """The first answer for each path fails."""
    return lambda _path, number: fault if number == 0 else None


def sometimes(fault: Fault) -> Plan:
    """Two of three answers fail."""
    return lambda _path, number: fault if number % 3 else None


def always(fault: Fault) -> Plan:
    """All answers fail."""
    return lambda _path, _number: fault
