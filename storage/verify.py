"""Verify that every file of a corpus version is still what was written."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from storage.artifacts import get_artifact, has_artifact
from storage.errors import CorruptStore, NotFound, StorageError, damaged, remedy
from storage.lists.files import checked_list
from storage.receipts import DataFile
from storage.store import Store
from storage.versions import Version

T = TypeVar("T")

THREADS = 8
"""Files in memory at a time."""


def verify_files(store: Store, version: Version) -> Iterator[str]:
    """Check all files and artifacts of a version; yield one line per problem.

    Checks existence, size, SHA-256 and number of rows of every file, the checksums of lists and artifacts, and that no
    file with rows is listed twice: work units of which nothing is left share their later files. Memory: as many files
    as there are threads.
    """
    yield from verify_names(store, version)
    yield from (problem for _, problem in broken_files(store, version.contents.tables))


def verify_names(store: Store, version: Version) -> Iterator[str]:
    """Check what `verify_files` checks, without reading the tables."""
    for path, count in Counter(file.path for file in version.contents.tables if file.rows).items():
        if count > 1:
            yield f"{store.url(path)}: named {count} times by version {version.number}"
    checks = [partial(checked_list, store, name) for name in version.lists]
    checks += [partial(get_artifact, store, of.kind, of.fingerprint) for of in version.artifacts.values()]
    for check in checks:
        try:
            check()
        except StorageError as error:
            yield str(error)


def check_complete(store: Store, version: Version) -> None:
    """Refuse to commit a version that refers to files that are not there; nothing may remove files meanwhile.

    Raises:
        StorageError: somebody removed files while the version was built.
    """
    contents = version.contents
    sizes: dict[str, int | None] = {file.path: file.bytes for file in contents.tables}
    sizes |= dict.fromkeys(contents.entries)
    there = _sizes(store, sizes.keys())
    lost = [path for path, size in sizes.items() if path not in there or size not in (None, there[path])]
    lost += [
        artifact.path for artifact in contents.artifacts if not has_artifact(store, artifact.kind, artifact.fingerprint)
    ]
    if lost:
        raise StorageError(
            f"{store.url(lost[0])} was removed while this build was running ({len(lost)} such files); nothing was "
            "committed: build again, what is left is kept"
        )


def check_present(store: Store, version: Version) -> None:
    """Refuse a version with files that are missing or have another size, and one with damaged artifacts.

    The contents of the tables are not read; each read of one checks them.

    Raises:
        NotFound: a file is missing; the message names it and the remedy.
        CorruptStore: a file has another size, or an artifact is damaged; the message names it and the remedy.
    """
    files = {file.path: file for file in version.contents.tables}
    sizes = _sizes(store, files.keys())
    for path, file in files.items():
        if path not in sizes:
            missing = len(files.keys() - sizes.keys())
            raise NotFound(f"{store.url(path)} does not exist ({missing} such files); {remedy(store.uri)}")
        if sizes[path] != file.bytes:
            raise damaged(store.url(path), f"{sizes[path]} bytes, {file.bytes} were written", store.uri)
    for artifact in version.artifacts.values():
        get_artifact(store, artifact.kind, artifact.fingerprint)


def _sizes(store: Store, paths: Collection[str]) -> dict[str, int]:
    """Sizes in bytes of those of the files that are there; a listing for each of their folders."""
    folders = sorted({path.rpartition("/")[0] for path in paths})
    return {path: size for folder in folders for path, size in store.sizes(folder) if path in paths}


def broken_files(store: Store, files: Sequence[DataFile]) -> Iterator[tuple[DataFile, str]]:
    """Yield each file that is missing or differs from what was written, with the problem, in their order.

    A bounded number of files is in memory at a time.
    """
    problems = in_threads(partial(_problem, store, file) for file in files)
    return ((file, problem) for file, problem in zip(files, problems, strict=True) if problem)


def in_threads(jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield the results of jobs that each hold a file, in their order; `THREADS` of them run at a time.

    If one fails or the iterator is closed, those that have not begun are cancelled.
    """
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _problem(store: Store, file: DataFile) -> str | None:
    try:
        checked_table(store, file, ())
    except StorageError as error:
        return str(error)
    return None


def checked_table(store: Store, file: DataFile, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table by one request, after a check of size, SHA-256 and number of rows.

    Args:
        store: the store.
        file: the file of the table.
        columns: names of the columns to read; those that the file lacks are left out. None = all.

    Raises:
        NotFound: there is no such file.
        CorruptStore: it is not the file that was written.
    """
    url = store.url(file.path)
    data = store.get(file.path)
    if len(data) != file.bytes:
        raise CorruptStore(f"{url}: {len(data)} bytes, {file.bytes} were written")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise CorruptStore(f"{url}: contents changed since they were written (SHA-256 differs)")
    try:
        parquet = pq.ParquetFile(pa.BufferReader(data))
        rows = parquet.metadata.num_rows
        names = parquet.schema_arrow.names if columns is None else columns
        table = parquet.read([name for name in names if name in parquet.schema_arrow.names], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise CorruptStore(f"{url}: no Parquet file ({error})") from error
    if rows != file.rows:
        raise CorruptStore(f"{url}: {rows} rows, {file.rows} in its receipt")
    return table
