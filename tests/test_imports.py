"""The house rules of ARCHITECTURE.md, held against the imports of every module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "flows": {"pipelines", "echox", "storage", "unitlang"},
    "pipelines": {"echox", "storage", "unitlang"},
    "echox": {"storage", "unitlang"},
    "storage": set[str](),
    "unitlang": set[str](),
}
ONLY_IN = {"ray": "pipelines", "prefect": "flows", "fairseq2": "echox"}


def imported_roots(source: str) -> set[str]:
    """Top-level names of everything a module imports, wherever the import stands."""
    roots: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            roots.add(node.module.partition(".")[0])
    return roots


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_point_one_way(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        roots = imported_roots(path.read_text())
        forbidden = (roots & MAY_IMPORT.keys()) - MAY_IMPORT[package] - {package}
        forbidden |= {name for name, owner in ONLY_IN.items() if name in roots and package != owner}
        assert not forbidden, f"{path.relative_to(ROOT)} must not import {sorted(forbidden)}"
