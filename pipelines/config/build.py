"""The build's configuration: a YAML file, checked as a whole before any work starts."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, create_model

from echox.config.faults import Change, Fault, FieldPath, faults_of, report, spelt
from echox.config.values import apply_change, read_config
from pipelines.config.artifacts_from import ArtifactsPlace
from pipelines.config.gates import GatesConfig
from pipelines.config.paths import path_faults
from pipelines.engine.execution import ExecutionConfig
from pipelines.errors import UserError
from pipelines.paths import ConfigPath, absolute
from pipelines.readers import SourceConfig
from pipelines.readers.base import Gone
from pipelines.steps import computations, steps, table_steps
from pipelines.steps.ingest import WorkUnitsConfig
from pipelines.steps.shard import ShardsConfig
from unitlang.config import FrozenConfig
from unitlang.features import FeaturesConfig
from unitlang.features.mfcc import MfccConfig
from unitlang.language.unit_language import UnitLanguageConfig
from unitlang.quantizer.quantizer import QuantizerConfig
from unitlang.registry import nearest

logger = logging.getLogger(__name__)

REMEDIES: dict[FieldPath, str] = {
    ("artifacts_from",): "must be STORE@VERSION, or a mapping of quantizer and unit_language to one each",
    ("sources",): "must be a list of sources, each starting with `-` and naming kind, path and dataset",
}
"""Messages for fields whose type alone would not say what to write."""


class _BuildConfig(FrozenConfig):
    """A corpus build: sources of speech, processing steps, and the store of the corpus."""

    model_config = ConfigDict(title="EchoX corpus build")

    store: ConfigPath = Field(min_length=1)
    """Folder or s3:// URL of the corpus; a relative path is relative to the config file."""
    sources: tuple[SourceConfig, ...]
    """Sources of speech; none at all with `gone: keep`, for other words or shards of what the corpus holds."""
    features: FeaturesConfig = MfccConfig()
    """Features for k-means."""
    quantizer: QuantizerConfig = QuantizerConfig()
    """k-means: features to units."""
    unit_language: UnitLanguageConfig = UnitLanguageConfig()
    """Unit language: units to words."""
    artifacts_from: ArtifactsPlace | None = None
    """STORE@VERSION whose quantizer and unit language are used, or one for each; nothing is fitted then."""
    shards: ShardsConfig = ShardsConfig()
    """Training shards."""
    work_units: WorkUnitsConfig = WorkUnitsConfig()
    """Grouping of utterances into work units."""
    max_reject_ratio: float = Field(default=0.05, ge=0.0, le=1.0, allow_inf_nan=False)
    """The build fails before the commit if a larger share of all entries was rejected."""
    gates: GatesConfig = GatesConfig()
    """Largest changes of a new version against the last one that need no approval by a person."""
    gone: Gone | None = None
    """Entries of datasets that no source has any more: `keep` them, `remove` them, or fail (default)."""
    duplicates: Literal["keep", "reject"] = "keep"
    """Utterances that have the audio of another one: `keep` them, or `reject` all but one of each audio."""
    refit: bool = False
    """Fit quantizer and unit language again on all speech, instead of keeping those of the last version."""
    recompute: tuple[str, ...] = ()
    """Steps whose work is done again where an earlier revision of the program did it; otherwise that work stays."""
    run: ExecutionConfig = ExecutionConfig()
    """Execution of the build; does not affect its output."""


if TYPE_CHECKING:
    BuildConfig = _BuildConfig
else:
    BuildConfig = create_model(
        "BuildConfig",
        __base__=_BuildConfig,
        __doc__=_BuildConfig.__doc__,
        **{name: (step.settings, step.settings()) for name, step in steps().items() if step.settings},
    )
    """The config, with a section for each step that has settings of its own."""


def load_config(path: Path, overrides: Sequence[str] = (), store: str | None = None) -> BuildConfig:
    """Read and check a config file, including that the files and folders that it names exist.

    Args:
        path: the YAML file.
        overrides: `a.b=c` each; c is YAML.
        store: replaces the config's store; a relative path is relative to the current folder.

    Raises:
        EchoxError: the file is not a YAML mapping, or an override is malformed.
        UserError: all faults together, each with its field in the file or the option that caused it.
    """
    values = read_config(path)
    changes = [apply_change(values, override) for override in overrides]
    if store is not None:
        values["store"] = absolute(store, Path.cwd()) if store else store
        changes.append(Change(f"--store {store}", ("store",)))
    base = path.parent.resolve()
    return check_config(values, str(path), base, changes, tuple(path_faults(values, base)))


def check_config(
    values: dict[str, Any], name: str, base: Path, changes: Sequence[Change] = (), found: Sequence[Fault] = ()
) -> BuildConfig:
    """Check values without looking at the disk.

    Args:
        values: by field.
        name: name of the file that they come from.
        base: folder that relative paths start at.
        changes: changes by the command line.
        found: known faults, to be reported together with the others.

    Raises:
        UserError: all faults together; conflicts between fields are reported only if nothing else is wrong.
    """
    faults = list(found)
    try:
        config = BuildConfig.model_validate(values, context={"base": base})
    except ValidationError as error:
        faults += faults_of(error, BuildConfig, values, REMEDIES)
    else:
        checks = (_vocabulary_faults, _no_source_faults, _store_faults, _resource_faults, _recompute_faults)
        faults += [fault for check in checks for fault in check(config)]
        if not faults:
            return _with_models_settled(config, base)
    raise UserError(report(name, faults, changes))


def config_schema() -> str:
    """The JSON Schema of the config, for editors."""
    schema = BuildConfig.model_json_schema()
    execution = schema["$defs"][ExecutionConfig.__name__]["properties"]
    schema["properties"]["recompute"]["items"]["enum"] = sorted(table_steps())
    execution["resources"]["propertyNames"] = {"enum": sorted(computations())}
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def _vocabulary_faults(config: BuildConfig) -> Iterator[Fault]:
    size, k = config.unit_language.vocab_size, config.quantizer.k
    if config.quantizer.centroids is None and config.artifacts_from is None and size < k + 1:
        yield Fault(
            ("unit_language", "vocab_size"),
            f"{size} words cannot hold `<unk>` and the {k} units of quantizer.k; "
            f"raise it to {k + 1} or more, or lower quantizer.k",
            also=(("quantizer", "k"),),
        )


def _resource_faults(config: BuildConfig) -> Iterator[Fault]:
    for name in config.run.resources:
        if name not in computations():
            yield Fault(("run", "resources", name), f"is not a step that runs on Ray; {nearest(name, computations())}")


def _recompute_faults(config: BuildConfig) -> Iterator[Fault]:
    for position, name in enumerate(config.recompute):
        if name not in table_steps():
            remedy = "; `refit: true` fits anew" if name in steps() else ""
            yield Fault(("recompute", position), f"{name} writes no tables; {nearest(name, table_steps())}{remedy}")


def _no_source_faults(config: BuildConfig) -> Iterator[Fault]:
    if not config.sources and config.gone != "keep":
        yield Fault(("sources",), "is empty; name sources of speech, or keep what the corpus holds with `gone: keep`")


def _store_faults(config: BuildConfig) -> Iterator[Fault]:
    stores = _spellings(config.store)
    for number, source in enumerate(config.sources):
        if any(store.startswith(folder) for store in stores for folder in _spellings(source.path)):
            path = ("sources", number, "path")
            yield Fault(
                ("store",),
                f"{config.store} lies inside {spelt(path)} ({source.path}), so that the next build would take the "
                "corpus for a part of its source; put it beside the source",
                also=(path,),
            )


def _spellings(uri: str) -> set[str]:
    """Return a folder as written and with links resolved, each with a slash at the end; a URL as written."""
    path = uri.removeprefix("file://")
    found = {path} if "://" in path else {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100
    return {name.rstrip("/") + "/" for name in found}


def _with_models_settled(config: BuildConfig, base: Path) -> BuildConfig:
    """Resolve the paths of model files, and one precision for all workers."""
    quantizer = config.quantizer
    features, reason = config.features.settled(partial(absolute, base=base))
    if reason:
        logger.info("features: %s", reason)
    if quantizer.centroids is not None:
        quantizer = quantizer.model_copy(update={"centroids": absolute(quantizer.centroids, base)})
    settled = {"features": features, "quantizer": quantizer}
    # a section that the file does not state must not count as stated: it may come with an artifact
    return config.model_copy(update={name: settled[name] for name in settled.keys() & config.model_fields_set})


if __name__ == "__main__":
    print(config_schema(), end="")  # noqa: T201
