"""The state of a build, and its six steps and the commit as functions of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import chain
from typing import Any, Literal

from pipelines.build.commit import assemble, check_accounts, check_nothing_left_out
from pipelines.build.gates import needs_look
from pipelines.build.rejects import check_rejects, check_some_left, check_speech
from pipelines.config.build import BuildConfig
from pipelines.engine.fingerprint import fingerprint
from pipelines.engine.session import Session
from pipelines.steps import ingest, shard
from pipelines.steps.encode import SPEED as ENCODE_SPEED
from pipelines.steps.encode import Encode
from pipelines.steps.fit_quantizer import clusters, fit_quantizer, quantizer_spec
from pipelines.steps.fit_unit_language import fit_unit_language
from pipelines.steps.ingest import Ingest, WorkUnit
from pipelines.steps.quantize import Quantize
from pipelines.steps.shard import Shard
from storage.approvals import last_accepted
from storage.artifacts import ArtifactRef
from storage.errors import CommitConflict
from storage.manifests import Manifest, commit, load
from storage.receipts import Receipt

StepName = Literal["ingest", "fit_quantizer", "quantize", "fit_unit_language", "encode", "shard"]
"""The steps in their order."""


@dataclass(frozen=True)
class Built:
    """What a build ended with.

    Attributes:
        manifest: the corpus version.
        new: whether this build made it; otherwise it was there and nothing had changed.
        kept: how many of its entries stood in the version before as they are.
        added: how many are new.
    """

    manifest: Manifest
    new: bool
    kept: int
    added: int

    @classmethod
    def of(cls, manifest: Manifest, parent: Manifest | None) -> "Built":
        """The result of a build that began at `parent` and ended at `manifest`, which may be the same."""
        before = {receipt.fingerprint for receipt in parent.steps["ingest"]} if parent else set[str]()
        rows = {True: 0, False: 0}
        for receipt in manifest.steps["ingest"]:
            rows[receipt.fingerprint in before] += receipt.rows_in
        return cls(manifest, manifest is not parent, kept=rows[True], added=rows[False])


@dataclass
class Build:
    """The state of a build between its steps: receipts and artifacts so far, and what the last version gives.

    Attributes:
        config: what to build.
        session: where steps run.
        parent: the last version of the corpus, if any.
        steps: receipts by step.
        artifacts: quantizer and unit language.
        specs: by step, a fingerprint of all that decides whether the last version's result is still the one wanted.
    """

    config: BuildConfig
    session: Session
    parent: Manifest | None
    steps: dict[str, list[Receipt]] = field(default_factory=dict[str, list[Receipt]])
    artifacts: dict[str, ArtifactRef] = field(default_factory=dict[str, ArtifactRef])
    specs: dict[str, str] = field(default_factory=dict[str, str])

    def ingest(self) -> None:
        """List and check what is new in the sources."""
        step = Ingest(self.config.work_units.minutes)
        chunk = self.config.work_units.items
        self.specs["ingest"] = fingerprint(step.name, step.revision, asdict(step), chunk)
        parent = self.parent if self._unchanged("ingest") else None
        kept = parent.steps["ingest"] if parent else []
        with self.session.console.status("listing the sources"):
            tasks = list(ingest.plan(self.session.store, step, self.config.sources, parent, chunk))
        if self.parent and parent is None:
            check_nothing_left_out(self.session.store, self.parent, tasks)
        self.steps["ingest"] = [*kept, *self.session.run(step, tasks, speed=ingest.SPEED)]
        check_some_left(self.session.store, self.steps, "ingest")

    def fit_quantizer(self) -> None:
        """The quantizer: the last version's unless its configuration changed.

        Raises:
            UserError: more rejects than allowed already, or too little speech.
        """
        features, config = self.config.features, self.config.quantizer
        if self.parent is None or self.steps["ingest"] != self.parent.steps["ingest"]:
            check_rejects(self.session.store, self.steps, self.config.max_reject_ratio)  # before the long steps
        self.specs["quantizer"] = quantizer_spec(features, config)
        if self.parent and self._keeps("quantizer"):
            self.artifacts["quantizer"] = self.parent.artifacts["quantizer"]
        else:
            if config.centroids is None:
                check_speech(self.session.store, self.steps, config.k)
            self.artifacts["quantizer"] = fit_quantizer(
                self.session, self.units, self.dataset_samples, features, config
            )

    def quantize(self) -> None:
        """Units of every utterance."""
        step = Quantize(self.artifacts["quantizer"].fingerprint)
        tasks = [step.unit_task(unit) for unit in self.units]
        features = self.config.features
        self.steps["quantize"] = self.session.run(
            step, tasks, speed=features.speed, known=self._known("quantize"), gpu=features.gains_by_gpu
        )
        check_some_left(self.session.store, self.steps, "quantize")

    def fit_unit_language(self) -> None:
        """The unit language: the last version's unless its configuration or the quantizer changed."""
        config, quantizer = self.config.unit_language, self.artifacts["quantizer"].fingerprint
        self.specs["unit_language"] = fingerprint(config.model_dump(), quantizer)
        if self.parent and self._keeps("unit_language"):
            self.artifacts["unit_language"] = self.parent.artifacts["unit_language"]
        else:
            self.artifacts["unit_language"] = fit_unit_language(
                self.session,
                self.units,
                self.steps["quantize"],
                self.dataset_samples,
                config,
                quantizer=quantizer,
                k=clusters(self.session.store, quantizer),
            )

    def encode(self) -> None:
        """Words of every utterance."""
        step = Encode(self.artifacts["unit_language"].fingerprint, self.artifacts["quantizer"].fingerprint)
        pairs = zip(self.units, self.steps["quantize"], strict=True)
        tasks = [step.unit_task(quantized, unit.seconds) for unit, quantized in pairs]
        self.steps["encode"] = self.session.run(step, tasks, speed=ENCODE_SPEED, known=self._known("encode"))

    def shard(self) -> None:
        """Training shards of the work units that no shard of the last version holds."""
        step = Shard(self.config.shards.model_dump(mode="json"))
        language = self.artifacts["unit_language"].fingerprint
        self.specs["shard"] = fingerprint(self.specs["ingest"], step.revision, asdict(step), language)
        kept, done = self._kept_shards()
        tasks = list(shard.plan(step, self.units[done:], self.steps["encode"][done:]))
        self.steps["shard"] = [*kept, *self.session.run(step, tasks, speed=shard.SPEED)]

    def finish(self) -> Built:
        """Check that every utterance is accounted for, then commit; nothing is committed when nothing changed.

        Raises:
            UserError: more rejects than allowed.
            CommitConflict: another build committed first.
        """
        parent = self.parent
        if parent and (parent.steps, parent.artifacts, parent.lineage["specs"]) == (
            self.steps,
            self.artifacts,
            self.specs,
        ):
            return Built.of(parent, parent)
        check_accounts(self.steps)
        check_rejects(self.session.store, self.steps, self.config.max_reject_ratio)
        with self.session.console.status("statistics and commit"):
            return Built.of(self._commit(), parent)

    def _commit(self) -> Manifest:
        """The next version; that of another build where it is the very same."""
        store = self.session.store
        manifest = assemble(
            store,
            self.parent,
            steps=self.steps,
            artifacts=self.artifacts,
            config=recorded_config(self.config),
            lineage={"specs": self.specs, "versions": library_versions()},
        )
        review = needs_look(self.config.gates, last_accepted(store, self.parent), manifest)
        try:
            return commit(store, replace(manifest, review=review))
        except CommitConflict:
            other = load(store, manifest.version)
            if (other.steps, other.artifacts) == (manifest.steps, manifest.artifacts):
                return other  # this build's own commit before it was killed, or that of a twin
            raise

    @property
    def units(self) -> list[WorkUnit]:
        """All work units, those of the last version first."""
        return work_units(self.steps["ingest"])

    @property
    def dataset_samples(self) -> dict[str, int]:
        """Length of each dataset in samples at 16 kHz."""
        totals: dict[str, int] = {}
        for name, counts in chain.from_iterable(r.stats["datasets"].items() for r in self.steps["ingest"]):
            totals[name] = totals.get(name, 0) + counts["samples"]
        return totals

    def _unchanged(self, name: str) -> bool:
        return self.parent is not None and self.parent.lineage["specs"].get(name) == self.specs[name]

    def _keeps(self, artifact: str) -> bool:
        return self._unchanged(artifact) and not self.config.refit

    def _kept_shards(self) -> tuple[list[Receipt], int]:
        """Shards of the last version that still hold what they should, and how many work units are in them."""
        if self.parent is None or not self._unchanged("shard"):
            return [], 0
        encoded = self.parent.steps["encode"]
        unchanged = self.steps["encode"][: len(encoded)] == encoded
        return (self.parent.steps["shard"], len(encoded)) if unchanged else ([], 0)

    def _known(self, step: str) -> Sequence[Receipt]:
        return self.parent.steps[step] if self.parent else ()


STEPS: Mapping[str, Callable[[Build], None]] = {
    "ingest": Build.ingest,
    "fit_quantizer": Build.fit_quantizer,
    "quantize": Build.quantize,
    "fit_unit_language": Build.fit_unit_language,
    "encode": Build.encode,
    "shard": Build.shard,
}


def work_units(receipts: Sequence[Receipt]) -> list[WorkUnit]:
    """The work units that these receipts of `ingest` made, in order."""
    units: list[WorkUnit] = []
    for receipt in receipts:
        files = [file for file in receipt.files if file.table == "utterances"]
        units += [
            WorkUnit(file.path, file.sha256, file.rows, seconds)
            for file, seconds in zip(files, receipt.stats["seconds"], strict=True)
        ]
    return units


def recorded_config(config: BuildConfig) -> dict[str, Any]:
    """The part of the config that decides what the corpus is, as JSON values."""
    return config.model_dump(mode="json", exclude={"store", "run", "refit", "max_reject_ratio", "gates"})


def library_versions() -> dict[str, str]:
    """Versions of the libraries that the values depend on."""
    names = ("echox", "av", "faiss-cpu", "numpy", "pyarrow", "scipy", "sentencepiece", "torch", "torchaudio")
    return {name: version(name) for name in names}
