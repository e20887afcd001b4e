"""Compare two corpus versions, of one store or of two."""

from collections.abc import Sequence

from typing_extensions import TypedDict

from pipelines.diff.entries import Entries, EntryChanges, EntryDiff
from pipelines.diff.rejects import RejectChanges, Rejects, reject_changes
from pipelines.diff.settings import Setting, setting_changes
from pipelines.diff.words import WordChanges, word_changes
from pipelines.records import check_made
from storage.receipts import DataFile
from storage.store import Store
from storage.versions import Version

Corpus = tuple[Store, Version]


class Differences(TypedDict):
    """Differences between two versions, as JSON values.

    Attributes:
        entries: utterances by dataset, for datasets with a difference.
        rejects: rejects by reason, for reasons with a difference.
        settings: fields of the config that differ, by name.
        words: words of the unit language; None if the units are those of different quantizers.
    """

    entries: dict[str, EntryChanges]
    rejects: dict[str, RejectChanges]
    settings: dict[str, Setting]
    words: WordChanges | None


def compare(before: Corpus, after: Corpus) -> Differences:
    """Compare two versions.

    Files that both versions have are not read, except those of rejects, once, if there are new utterances: one may have
    healed a reject. Memory: a few files, and digests of each utterance in files of one version only and of each reject.

    Args:
        before: store and version to start from.
        after: store and version to compare with; the store may be another one.

    Raises:
        StorageError: a file of a version cannot be read.
    """
    for store, version in (before, after):
        check_made(store, version)
    listed, relisted = (Entries.read(*part) for part in _apart(before, after, "utterances"))
    entries = EntryDiff.of(listed, relisted)
    old, new = (Rejects.read(*part) for part in _apart(before, after, "rejects"))
    common = Rejects.read(before[0], _common(before, after, "rejects") if len(entries.added) else ())
    return Differences(
        entries=entries.by_dataset,
        rejects=reject_changes(old, new, common, entries),
        settings=setting_changes(before[1], after[1]),
        words=word_changes(before, after),
    )


def _apart(before: Corpus, after: Corpus, table: str) -> list[tuple[Store, Sequence[DataFile]]]:
    """For both versions, the store and the files of a table whose contents the other version does not have."""
    files = [version.files(table) for _, version in (before, after)]
    contents = [{file.sha256 for file in own} for own in files]
    return [
        (before[0], [file for file in files[0] if file.sha256 not in contents[1]]),
        (after[0], [file for file in files[1] if file.sha256 not in contents[0]]),
    ]


def _common(before: Corpus, after: Corpus, table: str) -> list[DataFile]:
    """Files of a table whose contents both versions have."""
    contents = {file.sha256 for file in after[1].files(table)}
    return [file for file in before[1].files(table) if file.sha256 in contents]
