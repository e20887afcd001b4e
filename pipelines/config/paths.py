"""Check that files and folders named by a config exist on this machine; URLs are left to their readers."""

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

from echox.config.faults import Fault, FieldPath
from pipelines.paths import absolute
from pipelines.readers import READERS
from pipelines.readers.base import Reads
from unitlang.features import EXTRACTORS


def path_faults(values: dict[str, Any], base: Path) -> Iterator[Fault]:
    """Yield a fault for each missing source, checkpoint or codebook.

    Args:
        values: values of a config, possibly with other faults.
        base: folder of the config file.
    """
    sources: Any = values.get("sources")
    for position, source in enumerate(cast("list[Any]", sources) if isinstance(sources, list) else []):
        if isinstance(source, dict):
            yield from _source_faults(source, ("sources", position), base)
    features, quantizer = values.get("features"), values.get("quantizer")
    if isinstance(features, dict) and features.get("kind") in EXTRACTORS:
        missing = EXTRACTORS[features["kind"]].missing_files(features, partial(absolute, base=base))
        yield from (Fault(("features", name), message) for name, message in missing)
    if isinstance(quantizer, dict):
        yield from _faults(("quantizer", "centroids"), quantizer.get("centroids"), "file", base)


def _source_faults(source: dict[str, Any], field: FieldPath, base: Path) -> Iterator[Fault]:
    reader = READERS.get(str(source.get("kind")))
    yield from _faults((*field, "path"), source.get("path"), reader.reads if reader else "file or folder", base)
    if reader and "audio_dir" in reader.model_fields:
        yield from _faults((*field, "audio_dir"), source.get("audio_dir"), "folder", base)


def _faults(field: FieldPath, path: Any, reads: Reads, base: Path) -> Iterator[Fault]:
    """Yield the fault of a path, if it is one and has one."""
    if not isinstance(path, str) or not path:
        return
    place = absolute(path, base).removeprefix("file://")
    if "://" in place:
        return
    if reads == "file, folder or pattern":
        is_pattern = any(character in os.path.basename(place) for character in "*?[")  # noqa: PTH119
        place, reads = (os.path.dirname(place), "folder") if is_pattern else (place, "file or folder")  # noqa: PTH120
    fault = _missing(place, reads)
    if fault and not os.path.isabs(path):  # noqa: PTH117
        fault += f" (a relative path starts at the config file's folder, {base})"
    if fault:
        yield Fault(field, fault)


def _missing(place: str, reads: Reads) -> str | None:
    """Return the fault of a place that should be a file or a folder, or None."""
    try:
        is_folder = stat.S_ISDIR(os.stat(place).st_mode)  # noqa: PTH116
        if is_folder and reads != "file" and not any(os.scandir(place)):
            return f"{place} is an empty folder; put the speech there, or correct the path"
    except (FileNotFoundError, NotADirectoryError):
        return f"{place}: no such {reads}; correct the path"
    except (OSError, ValueError) as error:
        return f"{place}: cannot be read: {error}"
    if is_folder and reads == "file":
        return f"{place} is a folder; name a file"
    if not is_folder and reads == "folder":
        return f"{place} is not a folder; name a folder, or another `kind`"
    return None
