"""Verify that every file of a corpus version is still what was written."""

import hashlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from storage.artifacts import get_artifact
from storage.errors import NotFound, StorageError, damaged, remedy
from storage.receipts import DataFile
from storage.store import Store
from storage.versions import Version

THREADS = 8
"""Files in memory at a time."""


def verify_files(store: Store, version: Version) -> Iterator[str]:
    """Check all files and artifacts of a version; yield one line per problem.

    Checks existence, size, SHA-256 and number of rows of every file, the checksums of the artifacts, and that no file
    is listed twice. Memory: as many files as there are threads.
    """
    files = [file for receipts in version.steps.values() for receipt in receipts for file in receipt.files]
    for path, count in Counter(file.path for file in files).items():
        if count > 1:
            yield f"{store.url(path)}: named {count} times by version {version.number}"
    for artifact in version.artifacts.values():
        try:
            get_artifact(store, artifact.kind, artifact.fingerprint)
        except StorageError as error:
            yield str(error)
    yield from (problem for _, problem in broken_files(store, files))


def check_present(store: Store, version: Version) -> None:
    """Refuse a version with files that are missing or have another size, and one with damaged artifacts.

    The contents of the tables are not read; each read of one checks them.

    Raises:
        NotFound: a file is missing; the message names it and the remedy.
        CorruptStore: a file has another size, or an artifact is damaged; the message names it and the remedy.
    """
    files = {file.path: file for receipts in version.steps.values() for receipt in receipts for file in receipt.files}
    folders = sorted({path.rpartition("/")[0] for path in files})
    sizes = {path: size for folder in folders for path, size in store.sizes(folder) if path in files}
    for path, file in files.items():
        if path not in sizes:
            missing = len(files.keys() - sizes.keys())
            raise NotFound(f"{store.url(path)} does not exist ({missing} such files); {remedy(store.uri)}")
        if sizes[path] != file.bytes:
            raise damaged(store.url(path), f"{sizes[path]} bytes, {file.bytes} were written", store.uri)
    for artifact in version.artifacts.values():
        get_artifact(store, artifact.kind, artifact.fingerprint)


def broken_files(store: Store, files: Sequence[DataFile]) -> Iterator[tuple[DataFile, str]]:
    """Yield each file that is missing or differs from what was written, with the problem, in their order.

    A bounded number of files is in memory at a time.
    """
    waiting: deque[tuple[DataFile, Future[str | None]]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for file in files:
            waiting.append((file, pool.submit(_problem, store, file)))
            if len(waiting) > THREADS:
                yield from _finished(*waiting.popleft())
        for file, future in waiting:
            yield from _finished(file, future)


def _finished(file: DataFile, future: Future[str | None]) -> Iterator[tuple[DataFile, str]]:
    if problem := future.result():
        yield file, problem


def _problem(store: Store, file: DataFile) -> str | None:
    url = store.url(file.path)
    try:
        data = store.get(file.path)
    except StorageError as error:
        return str(error)
    if len(data) != file.bytes:
        return f"{url}: {len(data)} bytes, {file.bytes} were written"
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return f"{url}: contents changed since they were written (SHA-256 differs)"
    try:
        rows = pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        return f"{url}: no Parquet file ({error})"
    return None if rows == file.rows else f"{url}: {rows} rows, {file.rows} in its receipt"
