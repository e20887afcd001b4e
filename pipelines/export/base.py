"""Base class of the formats of exports."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipelines.export import formats
from pipelines.export.files import ExportedFile
from pipelines.export.plan import Plan, Shard
from pipelines.export.utterances import Utterance
from storage.store import Store
from storage.versions import Version
from unitlang.registry import by_name, classes_in


@dataclass(frozen=True)
class Export:
    """An export whose shards are finished.

    Attributes:
        folder: the folder of the export.
        store: the corpus.
        version: its version.
        plan: the shards, and what is known of their utterances.
        files: the files of the shards, in the order of the plan.
    """

    folder: Path
    store: Store
    version: Version
    plan: Plan
    files: Sequence[ExportedFile]


class Format(ABC):
    """A layout that another program reads. A subclass in a module of `pipelines.export.formats` registers itself.

    Equal shards must give equal bytes. The caller makes the files durable and gives them their names.

    Attributes:
        name: value of `--format`.
        revision: raise it when the bytes change; an unfinished export of another revision is not resumed.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1

    def check(self) -> None:
        """Check before any work that the packages that the format needs are there.

        Raises:
            UserError: one is missing; the message names the remedy.
        """
        return

    @abstractmethod
    def paths(self, shard: Shard) -> list[str]:
        """Paths of the files of a shard in the export."""

    @abstractmethod
    def write(self, drafts: Sequence[Path], utterances: Iterable[Utterance]) -> None:
        """Write the files of a shard, in memory that does not grow with it.

        Args:
            drafts: where to write the files of `paths`, in their order, as `files.whole_files` gives them.
            utterances: the utterances of the shard.
        """

    def finish(self, export: Export) -> list[str]:  # noqa: ARG002 - formats that describe nothing need nothing
        """Write the files that describe all shards, with `whole_files`; return their paths."""
        return []


def known_formats() -> dict[str, type[Format]]:
    """All formats by name."""
    return by_name(classes_in(formats.__name__, formats.__path__, Format), lambda found: found.name)
