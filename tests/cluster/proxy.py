"""A proxy before an S3 server that answers late, 503 to a share of the requests, and resets connections of others."""

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>'
OF_A_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class FlakyProxy(ThreadingHTTPServer):
    """Passes requests on, but for a share of them.

    Attributes:
        url: where it listens.
        refuse: share of the requests that get 503, 0 to 1.
        refused: how many did.
        reset: share of the requests whose connection is reset, half of them after the server did what they ask.
        resets: how many were.
        delay: seconds that each answer comes late.
        upstream: host and port of the S3 server.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.refuse = 0.0
        self.refused = 0
        self.reset = 0.0
        self.resets = 0
        self.delay = 0.0
        self.upstream = urlsplit(upstream).netloc
        self._random = random.Random(0)
        self._lock = threading.Lock()

    def refuses(self) -> bool:
        """Whether the next request is one of the share."""
        with self._lock:
            chosen = self._random.random() < self.refuse
            self.refused += chosen
        return chosen

    def resets_at(self) -> Literal["before", "after"] | None:
        """When the connection of the next request is reset, if at all."""
        with self._lock:
            if self._random.random() >= self.reset:
                return None
            self.resets += 1
            return self._random.choice(("before", "after"))

    @contextmanager
    def refusing(self, share: float) -> Iterator[None]:
        """Refuses this share meanwhile."""
        self.refuse, self.refused = share, 0
        try:
            yield
        finally:
            self.refuse = 0.0


@contextmanager
def flaky_proxy(upstream: str) -> Iterator[FlakyProxy]:
    """A proxy while the context lasts."""
    with FlakyProxy(upstream) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # which would keep each body back for 40 ms after its headers
    server: FlakyProxy  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle_one_request(self) -> None:
        """A request, unless its client was killed."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def pass_on(self) -> None:
        """Ask the S3 server, or refuse."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(self.server.delay)
        if self.server.refuses():
            self.answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN, len(SLOW_DOWN))
            return
        reset = self.server.resets_at()
        if reset == "before":
            self.hang_up()
            return
        upstream = HTTPConnection(self.server.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        upstream.request(self.command, self.path, body, headers)  # with the host of the S3 server
        answer = upstream.getresponse()
        content = answer.read()
        length = int(answer.getheader("Content-Length") or len(content))  # of a HEAD: that of the object
        upstream.close()
        if reset:
            self.hang_up()
        else:
            self.answer(answer.status, dict(answer.getheaders()), content, length)

    def hang_up(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise ConnectionResetError

    def answer(self, status: int, headers: Mapping[str, str], content: bytes, length: int) -> None:
        """Answer the client."""
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in OF_A_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on
