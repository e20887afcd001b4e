"""The program's code and the versions of its dependencies, which a cluster must match."""

import re
import sys
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import echox
import pipelines
import storage
import unitlang
from pipelines.errors import UserError

PACKAGES = (echox, pipelines, storage, unitlang)
"""Packages of this program that a job needs."""
_NAME = re.compile(r"[\w.-]+")


def code_folders() -> list[str]:
    """Folders of the program's packages."""
    return [str(Path(package.__path__[0])) for package in PACKAGES]


def code_revision() -> str:
    """Hash of the program's source files."""
    digest = sha256()
    for folder in map(Path, code_folders()):
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder.parent)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that this program depends on."""
    names = (_NAME.match(requirement) for requirement in requires("echox") or ())
    found = {name[0]: version(name[0]) for name in names if name}
    return {"python": "{}.{}".format(*sys.version_info), **found}


def check_environment(wanted: Mapping[str, str]) -> None:
    """Refuse to compute with versions that differ from those of the submitting program.

    Raises:
        UserError: versions differ; the message names the packages.
    """
    here = {name: _version(name) for name in wanted}
    other = [f"{name} {here[name]} instead of {wanted[name]}" for name in wanted if here[name] != wanted[name]]
    if other:
        raise UserError(
            f"--ray: the cluster's environment differs from this program's: {', '.join(other)}; "
            "make its image with `uv sync --frozen` from the same uv.lock (docs/cluster.md)"
        )


def _version(name: str) -> str:
    if name == "python":
        return "{}.{}".format(*sys.version_info)
    try:
        return version(name)
    except PackageNotFoundError:
        return "(absent)"
