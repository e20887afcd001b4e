"""Buckets: connections, exact put-if-absent, and errors with remedies."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from storage.errors import AlreadyExists, NotFound, StorageError, Unavailable
from storage.uris import Bucket

if TYPE_CHECKING:
    from obstore import Attributes
    from obstore.store import ClientConfig

T = TypeVar("T")

REQUEST_TIMEOUT = timedelta(minutes=5)
"""Timeout of one whole request with its body: a work unit of embedded audio over a slow link."""
RETRIES = 10
"""Retries of a request after a 5xx answer or a lost connection: about 40 s of exponential backoff."""
PROBE_RETRIES = 3
"""Retries when a store is opened: few, so that a wrong address is reported soon."""
TRIES = 4
"""Tries of a request whose connection is lost, if the client does not make it again itself."""
PAUSE_SECONDS = 0.5
"""Time between two of them."""
REMEDIES = (
    ("NoSuchBucket", "the bucket does not exist; create it or correct the URI"),
    ("/latest/api/token", "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (`aws configure "
     "export-credentials --format env` prints a profile's), or AWS_SKIP_SIGNATURE=true for a public bucket"),
    ("InvalidAccessKeyId", "the server does not know this AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is not that of AWS_ACCESS_KEY_ID"),
    ("ExpiredToken", "the credentials have expired; renew AWS_SESSION_TOKEN and its keys"),
    ("AccessDenied", "these credentials may not do that; it takes s3:ListBucket, GetObject and PutObject"),
    ("403 Forbidden", "access denied; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the bucket's policy"),
    ("incorrectly configured region", "the bucket is in another region; set AWS_REGION"),
    ("PermanentRedirect", "the bucket is in another region; set AWS_REGION"),
    ("AuthorizationHeaderMalformed", "the bucket is in another region; set AWS_REGION"),
)  # fmt: skip
"""(part of the server's or client's message, remedy); the first match counts."""
UNREACHABLE = "error sending request"
"""Part of the client's message if no server answers."""
GIVEN_UP = "Error performing"
"""Part of the client's message if a request failed as often as `RETRIES` allows, or was refused."""


class Listed(NamedTuple):
    """A file in a listing: its path in the store, size in bytes, time of the last change, and ETag."""

    path: str
    bytes: int
    modified: datetime
    etag: str | None


def connect(bucket: Bucket, *, retries: int = RETRIES) -> S3Store:
    """Create a client of the prefix; credentials, region and endpoint come from the `AWS_*` variables.

    Buckets are addressed by path (`endpoint/bucket/key`), which AWS and every compatible server understand.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    options: ClientConfig = {"timeout": REQUEST_TIMEOUT}
    if endpoint.startswith("http://"):
        options["allow_http"] = True
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        client_options=options,
        retry_config={"max_retries": retries, "backoff": {"max_backoff": timedelta(seconds=10)}},
    )


def open_bucket(bucket: Bucket, *, create: bool) -> S3Store:
    """Open the store under a prefix, after one request that checks bucket and credentials.

    Raises:
        StorageError: the bucket cannot be read, or the prefix is empty (unless `create`).
    """
    empty = next(list_objects(connect(bucket, retries=PROBE_RETRIES), bucket.uri), None) is None
    if empty and not create:
        raise StorageError(f"no store at {bucket.uri}; build one with `echox build`")
    return connect(bucket)


def list_objects(objects: LocalStore | S3Store, url: str, folder: str = "") -> Iterator[Listed]:
    """Yield all objects under a folder, with one page of the listing in memory at a time.

    A listing that breaks is continued once for each page that came.

    Raises:
        StorageError: the store does not answer or refuses.
    """
    last: str | None = None
    broken = False
    while True:
        try:
            with explained(url):
                for page in obstore.list(objects, folder or None, offset=last):  # pyright: ignore[reportUnknownMemberType]
                    for entry in page:
                        yield Listed(entry["path"], entry["size"], entry["last_modified"], entry["e_tag"])
                        last, broken = entry["path"], False
                return
        except Unavailable as error:
            if broken or not _broke_off(error):
                raise
            broken = True


def create_object(objects: S3Store, path: str, data: bytes) -> None:
    """Put if absent (`If-None-Match: *`).

    A retry after a lost answer finds the object that the first try wrote. The writer's mark in the object's metadata
    distinguishes it from another writer's.

    Raises:
        AlreadyExistsError: another writer was first.
    """
    mark = uuid4().hex
    attributes: Attributes = {"writer": mark}
    try:
        again(lambda: obstore.put(objects, path, data, mode="create", attributes=attributes, use_multipart=False))
    except BaseError:
        if not _written_by(mark, objects, path):
            raise


def again(request: Callable[[], T]) -> T:
    """Make a request that may be made twice; again if its connection is lost, where the client itself does not.

    Raises:
        BaseError: any error of the client.
    """
    for _ in range(TRIES - 1):
        try:
            return request()
        except BaseError as error:
            if UNREACHABLE not in str(error):
                raise
            time.sleep(PAUSE_SECONDS)
    return request()


def _written_by(mark: str, objects: S3Store, path: str) -> bool:
    try:
        return obstore.get(objects, path).attributes.get("writer") == mark
    except (BaseError, FileNotFoundError):
        return False


def answered(url: str, request: Callable[[], T]) -> T:
    """Make a request that may be made twice; one whose answer breaks off is made again.

    The client makes a request again that the server refuses for the moment, but not one whose answer breaks off.

    Args:
        url: URL of the file, for messages.
        request: makes the request.

    Raises:
        StorageError: as `explained`.
    """
    try:
        with explained(url):
            return request()
    except Unavailable as error:
        if not _broke_off(error):
            raise
    with explained(url):
        return request()


def _broke_off(error: Unavailable) -> bool:
    """Whether the server answered, but not to the end."""
    return GIVEN_UP not in str(error.__cause__)


@contextmanager
def explained(where: str) -> Generator[None, None, None]:
    """Turn the client's errors into `StorageError`s with a remedy.

    Args:
        where: URI of the file or store.

    Raises:
        AlreadyExists: a file of that name exists.
        NotFound: there is no such file.
        Unavailable: the server cannot be reached or fails; a retry may succeed.
        StorageError: any other error; a retry would fail again.
    """
    try:
        yield
    except AlreadyExistsError as error:
        raise AlreadyExists(f"{where} is there already") from error
    except (BaseError, OSError) as error:
        message = str(error)
        for sign, remedy in REMEDIES:
            if sign in message:
                raise StorageError(f"{where}: {remedy}") from error
        if isinstance(error, FileNotFoundError):
            raise NotFound(f"{where} does not exist") from error
        if UNREACHABLE in message:
            message = "the server cannot be reached; check AWS_ENDPOINT_URL and the network"
        kind = Unavailable if isinstance(error, BaseError) else StorageError
        raise kind(f"{where}: {message.partition('Debug source')[0].strip()}") from error
