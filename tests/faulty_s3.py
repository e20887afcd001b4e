"""An S3 server on this machine that fails as servers do."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class FaultyS3:
    """An S3 server that answers some requests with an error.

    Attributes:
        faults: (method, answer, whether the request is done before its answer is lost), used up one by one.
        cut: number of bodies of GETs that break off in the middle.
        refuses: answer to all GETs of a path (`/bucket/key`); None = a good one.
    """

    def __init__(self) -> None:
        self.application: Application = DomainDispatcherApplication(create_backend_app)
        self.faults: list[tuple[str, str, bool]] = []
        self.cut = 0
        self.refuses: Callable[[str], str | None] = lambda _path: None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.cut and environ["REQUEST_METHOD"] == "GET":
            self.cut -= 1
            return self.broken(environ, start_response)
        refusal = self.refuses(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "GET" else None
        if refusal:
            return _fault(refusal, start_response)
        if not self.faults or self.faults[0][0] != environ["REQUEST_METHOD"]:
            return self.application(environ, start_response)
        _, answer, done = self.faults.pop(0)
        if done:
            list(self.application(environ, lambda *_: None))
        return _fault(answer, start_response)

    def broken(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        """Half of the body, under the headers of the whole one; then the connection ends."""
        body = b"".join(self.application(environ, start_response))
        yield body[: len(body) // 2]
        raise ConnectionAbortedError


def _fault(answer: str, start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response(answer, [("Content-Type", "application/xml")])
    return [b"<Error><Code>Fault</Code></Error>"]


@contextmanager
def serving() -> Generator[tuple[FaultyS3, str]]:
    """Run a server as long as the block lasts; its buckets are those of all moto servers of this process."""
    application = FaultyS3()
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield application, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
