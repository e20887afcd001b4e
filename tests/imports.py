"""Imports between the modules of the packages, read from their source."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "pipelines", "echox", "storage", "unitlang")
"""From the top layer to the bottom; a package may only import packages below it."""


@dataclass(frozen=True)
class Import:
    """An import statement: the module that contains it, and the dotted name that it imports."""

    module: str
    name: str


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Paths of all modules of the packages by dotted name."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports_of(module: str, source: str) -> Iterator[Import]:
    """Yield all imports of a module, also those inside functions, except those under `if TYPE_CHECKING`."""
    tree = ast.parse(source)
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    skipped = {id(node) for block in guarded for inner in block.body for node in ast.walk(inner)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield Import(module, node.module)
            yield from (Import(module, f"{node.module}.{alias.name}") for alias in node.names)


def all_imports() -> list[Import]:
    """The imports of all modules."""
    return [found for name, path in modules().items() for found in imports_of(name, path.read_text("utf-8"))]


def edges() -> dict[str, set[str]]:
    """Imported modules of the packages by importing module; a package's imports of its own modules are left out."""
    known = modules()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for found in all_imports():
        inside = found.module == found.name or found.module.startswith(f"{found.name}.")
        if found.name in known and not inside:
            graph[found.module].add(found.name)
    return graph


def folder_edges() -> dict[str, set[str]]:
    """`edges` between folders: `package.folder`, or `package.module` for modules directly in a package."""
    graph: dict[str, set[str]] = {}
    for module, imported in edges().items():
        others = {_folder(name) for name in imported} - {_folder(module)}
        graph.setdefault(_folder(module), set()).update(others)
    return graph


def _folder(module: str) -> str:
    return ".".join(module.split(".")[:2])
