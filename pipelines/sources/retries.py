"""Rejects that a build tries again although their sources have not changed."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Self

from pipelines.engine.state import BuildState
from pipelines.entries.entries import to_line
from pipelines.sources.holdings import rejected_keys


@dataclass(frozen=True)
class Retries:
    """The rejects of a version that are tried again.

    Attributes:
        after: number of the version.
        keys: keys of the rejected entries, as hexadecimal digits.
    """

    after: int = 0
    keys: Collection[str] = frozenset()

    @classmethod
    def of(cls, build: BuildState) -> Self:
        """All rejects of the parent version, if the build is asked to try them again.

        Raises:
            StorageError: the rejects cannot be read.
        """
        if build.parent is None or not build.config.run.retry_rejects:
            return cls()
        receipts = chain.from_iterable(build.parent.steps.values())
        keys = rejected_keys(build.session.store, receipts)
        return cls(build.parent.number, frozenset(key.hex() for key in keys))

    def again(self, lines: Iterable[str]) -> list[str]:
        """Lines of entries; rejected ones get another key, so that no step takes over what it made of them."""
        return [self._again(line) for line in lines]

    def _again(self, line: str) -> str:
        values = json.loads(line)
        if values["kind"] == "bad" or values["key"] not in self.keys:
            return line
        return to_line(values["item"], values.get("content"), self.after, without=values.get("without", ()))
