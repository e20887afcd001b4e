"""Accounts of a build: every utterance that left a step entered the next one, and what became of all entries."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain

from pipelines.engine.rejects import count_reasons
from pipelines.engine.state import BuildState, EntryChanges
from pipelines.reading import read_ahead
from pipelines.records import GoneCounts, Receipts, utterance_files
from pipelines.sources.holdings import rejected_keys
from pipelines.steps import table_steps
from storage.receipts import Receipt
from storage.store import Store
from storage.tables import read_table

Datasets = Mapping[bytes, str]
"""Dataset of each entry, by its key."""


def check_accounts(steps: Receipts) -> None:
    """Compare the number of rows that entered each step with the number that the steps before it wrote.

    Args:
        steps: receipts of a version; steps that the version lacks are skipped.

    Raises:
        AssertionError: a step lost or duplicated an utterance; this is a bug, never a mistake of the user.
    """
    for name, step in table_steps().items():
        expected = step.expected_rows(steps) if name in steps else None
        found = sum(receipt.rows_in for receipt in steps.get(name, ()))
        if expected is not None and expected != found:
            raise AssertionError(f"step {name} saw {found} utterances, the step before gave {expected}")


def settled(build: BuildState) -> EntryChanges:
    """The counts of a build after its last step: entries that are rejected again have not healed.

    Raises:
        StorageError: the store does not answer.
    """
    changes, store = build.changes, build.session.store
    rejected = {key.hex() for key in rejected_keys(store, _new(build))} if build.retried else set[str]()
    again = Counter(build.retried[key] for key in rejected & build.retried.keys())
    changes.healed -= again.total()
    changes.changed += again["changed"]
    changes.mended += again["mended"]
    changes.kept += again["kept"]
    build.retried = {}
    rejects = count_reasons(chain.from_iterable(build.steps.values())).total()
    changes.rejected = rejects - _gone_rejects(store, build.steps, _datasets(build)).total()
    return changes


def _new(build: BuildState) -> Iterator[Receipt]:
    """Receipts that the parent version does not have."""
    for step, receipts in build.steps.items():
        known = {receipt.fingerprint for receipt in build.parent_receipts(step)}
        yield from (receipt for receipt in receipts if receipt.fingerprint not in known)


def gone_counts(build: BuildState) -> dict[str, GoneCounts]:
    """Utterances that the build keeps although no source lists them any more, by dataset.

    Raises:
        StorageError: a table cannot be read.
    """
    store, datasets = build.session.store, _datasets(build)
    if not datasets:
        return {}
    rejects = _gone_rejects(store, build.steps, datasets)
    pairs = zip(utterance_files(build.steps["ingest"]), build.steps["encode"], strict=True)
    jobs = (partial(_gone_speech, store, file.path, words.files[0].path, datasets) for file, words in pairs)
    speech: Counter[tuple[str, str]] = Counter()
    for counted in read_ahead(jobs):
        speech.update(counted)
    return {
        name: GoneCounts(
            entries=len(keys),
            rejects=rejects[name],
            utterances=speech[name, "utterances"],
            samples=speech[name, "samples"],
            frames=speech[name, "frames"],
            words=speech[name, "words"],
        )
        for name, keys in sorted(build.gone.items())
    }


def _datasets(build: BuildState) -> Datasets:
    return {bytes.fromhex(key): name for name, keys in build.gone.items() for key in keys}


def _gone_rejects(store: Store, steps: Receipts, datasets: Datasets) -> Counter[str]:
    """Number of rejects of gone entries, by dataset."""
    if not datasets:
        return Counter()
    keys = rejected_keys(store, chain.from_iterable(steps.values()))
    return Counter(datasets[key] for key in keys if key in datasets)


def _gone_speech(store: Store, utterances: str, words: str, datasets: Datasets) -> Counter[tuple[str, str]]:
    """Count the speech of gone entries in one work unit, by dataset and what is counted."""
    rows = read_table(store, utterances, ["utterance_id", "source_key", "num_samples"])
    columns = (rows[name].to_pylist() for name in ("utterance_id", "source_key", "num_samples"))
    samples = {name: count for name, key, count in zip(*columns, strict=True) if key in datasets}
    counted: Counter[tuple[str, str]] = Counter()
    if not samples:
        return counted
    table = read_table(store, words, ["utterance_id", "dataset", "num_frames", "words"])
    lengths = [len(words) for words in table["words"]]
    columns = (table[name].to_pylist() for name in ("utterance_id", "dataset", "num_frames"))
    for name, dataset, frames, length in zip(*columns, lengths, strict=True):
        if name in samples:
            counts = {"utterances": 1, "samples": samples[name], "frames": frames, "words": length}
            counted.update({(dataset, what): count for what, count in counts.items()})
    return counted
