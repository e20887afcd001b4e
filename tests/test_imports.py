"""Check the imports of every module against the rules of ARCHITECTURE.md."""

import re
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.imports import PACKAGES, ROOT, all_imports, edges, folder_edges, modules

MAY_IMPORT = {
    "flows": {"pipelines", "echox", "storage", "unitlang"},
    "pipelines": {"echox", "storage", "unitlang"},
    "echox": {"storage", "unitlang"},
    "storage": set[str](),
    "unitlang": set[str](),
}
ONLY_IN = {"ray": "pipelines", "prefect": "flows", "fairseq2": "echox"}
MOST_MODULES = 15
"""Largest number of modules in a folder, without `__init__.py` and modules that are registered by being there."""
OPEN = (
    "pipelines/readers",
    "pipelines/steps",
    "unitlang/features",
    "echox/recipes/stages",
    "flows/cli",
    "pipelines/export/formats",
)
"""Folders whose modules are found and registered; helpers of theirs lie in folders inside them."""


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    for found in all_imports():
        if found.module.partition(".")[0] != package:
            continue
        root = found.name.partition(".")[0]
        assert root not in MAY_IMPORT.keys() - MAY_IMPORT[package] - {package}, f"{found.module} imports {found.name}"
        assert ONLY_IN.get(root, package) == package, f"{found.module} imports {found.name}"


@pytest.mark.parametrize("graph", [edges(), folder_edges()], ids=["modules", "folders"])
def test_there_is_no_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_no_folder_is_crowded() -> None:
    folders = [str(path.parent.relative_to(ROOT)) for path in modules().values() if path.name != "__init__.py"]
    crowded = {folder for folder in folders if folders.count(folder) > MOST_MODULES} - {*OPEN}
    assert crowded == set(), f"more than {MOST_MODULES} modules: move those that belong together to a folder of theirs"


def named_folders() -> set[str]:
    """Folders in the tree of ARCHITECTURE.md, whose lines are indented by two spaces per level."""
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    (tree,) = re.findall(r"## Repository layout\n+```\n(.*?)```", page, re.DOTALL)
    found: set[str] = set()
    above: list[str] = []
    for indent, folder in re.findall(r"^( *)(\w+)/", tree, re.MULTILINE):
        above = [*above[: len(indent) // 2], folder]
        found.add("/".join(above))
    return found


def test_architecture_names_every_folder_and_no_other() -> None:
    folders = {str(path.parent.relative_to(ROOT)) for path in modules().values()}
    assert {folder for folder in named_folders() if folder.partition("/")[0] in PACKAGES} == folders
