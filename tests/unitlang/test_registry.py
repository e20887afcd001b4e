"""A module that is there is found, whatever else lies in the package."""

import sys
from abc import ABC
from collections.abc import Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

import pytest

from unitlang.registry import by_name, classes_in

BASE = "from abc import ABC, abstractmethod\nclass Base(ABC):\n    @abstractmethod\n    def do(self): ...\n"
PART = "from toy_parts.base import Base\nclass {}(Base):\n    def do(self): ...\n"


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "toy_parts"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "base.py").write_text(BASE)
    (folder / "zebra.py").write_text(PART.format("First") + "from toy_parts.ant import Last, helper\n")
    (folder / "ant.py").write_text(PART.format("Last") + "helper = Last()\nclass Unfinished(Base): ...\n")
    (folder / "inner/__init__.py").write_text(PART.format("Inner").replace("Inner", "Inner2"))
    (folder / "inner/deep.py").write_text(PART.format("Deep"))
    invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy_parts"]:
        del sys.modules[name]


def found_in(parts: Path) -> list[type[ABC]]:
    package: ModuleType = import_module("toy_parts")
    return classes_in(package.__name__, package.__path__, import_module("toy_parts.base").Base)


def test_classes_come_once_in_the_order_of_their_modules(parts: Path) -> None:
    assert [value.__name__ for value in found_in(parts)] == ["Last", "Inner2", "First"]


def test_two_of_one_name_are_refused(parts: Path) -> None:
    classes = found_in(parts)
    assert list(by_name(classes, lambda value: value.__name__.lower())) == ["last", "inner2", "first"]
    with pytest.raises(TypeError, match=r"toy_parts\.inner and toy_parts\.ant both define `toy`"):
        by_name(classes, lambda _: "toy")


def test_a_broken_module_is_an_error(parts: Path) -> None:
    (parts / "broken.py").write_text("import no_such_module_here\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        found_in(parts)
