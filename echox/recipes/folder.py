"""The folder of a run: its card, its tokenizer and its results."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import TypeAdapter, ValidationError, model_validator

from echox.architectures import Architecture, dump_architecture
from echox.data.config import DataConfig
from echox.errors import EchoxError
from echox.labels.key import model_fingerprint
from echox.recipes.config import LogConfig
from echox.renamed import NEW_NAMES, rename_fields
from echox.segments.cutting import SentencesConfig, rename_segments
from echox.segments.trigger import TriggerConfig
from echox.text.loading import load_tokenizer
from echox.text.tokenizer import TextTokenizer
from storage.local import write_file
from unitlang.config import FrozenConfig

CARD = "run.yaml"
METRICS = "metrics.jsonl"
TRAINABLE = "trainable.safetensors"
CONTENTS = "contents.json"
"""Facts that were read from the corpus' files, if its receipts do not say it: row groups, and rows by use."""
MODEL = "model"
WEIGHTS = "model.safetensors"
CHECKPOINTS = "checkpoints"
ORDER = 2
"""The order in which examples come. 1: from one shuffle buffer, which each worker filled; 2: from streams."""
SHUFFLE_ROWS = 1_024
"""Default of `data.shuffle_rows` in the first order, in which each worker had such a buffer of its own."""
ADDED_SETTINGS: Mapping[str, dict[str, Any]] = {"echo": {"decoding": None}}
"""Settings that cards of earlier versions do not have, by stage, with the values that mean what these versions did."""
OLD_NAMES = {**NEW_NAMES, "preset": "architecture_name", "parts": "source_models"}
"""New names of fields of cards that earlier versions wrote."""


class RunCard(FrozenConfig):
    """The description of a run (run.yaml)."""

    stage: str
    """Name of the stage."""
    corpus: str
    """STORE@VERSION."""
    architecture_name: str
    """Name or file of the architecture."""
    settings: tuple[str, ...]
    """The settings as they were given, FIELD=VALUE."""
    source_models: dict[str, str]
    """Folders of the runs that it started from, by stage."""
    fingerprints: dict[str, str]
    """Fingerprints of `quantizer`, `unit_language` and `tokenizer`."""
    config: dict[str, Any]
    """The resolved settings."""
    architecture: dict[str, Any]
    """The architecture, with the sizes of the vocabularies."""
    code: str
    """Version of the package."""
    init: str | None = None
    """Folder of the values that its trained weights began with, if it was given one."""
    order: int = 1
    """Order of the examples, as `ORDER`; cards of version 0.1 do not state theirs."""

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        renamed = rename_fields(values, names=OLD_NAMES)
        if isinstance(renamed, dict):
            if renamed.get("order", 1) < ORDER:
                _complete(renamed)
            _complete_architecture(renamed)
            if isinstance(config := renamed.get("config"), dict):
                renamed["config"] = ADDED_SETTINGS.get(renamed.get("stage", ""), {}) | config
            _complete_segments(renamed.get("config"))
        return renamed


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run that has begun.

    Attributes:
        folder: path of the folder.
        card: description of the run.
    """

    folder: Path
    card: RunCard

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Return the run of a folder.

        Raises:
            EchoxError: the folder holds no run, or its card is damaged.
        """
        path = folder / CARD
        try:
            return cls(folder, RunCard.model_validate(yaml.safe_load(path.read_text())))
        except FileNotFoundError:
            raise EchoxError(f"{folder}: no {CARD} there; give the folder of a run of `echox train`") from None
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise EchoxError(f"{path}: cannot be read: {error}") from None

    @property
    def weights(self) -> Path:
        """Path of the best model's weights.

        Raises:
            EchoxError: the run has not finished.
        """
        path = self.folder / MODEL / WEIGHTS
        if not path.is_file():
            raise EchoxError(f"{self.folder}: the run has not finished; train it to its end first")
        return path

    def check_words(self, option: str, fingerprints: Mapping[str, str], corpus: str) -> None:
        """Check that the run has finished, and was trained on the words of a corpus.

        Args:
            option: the option that names the run, for messages.
            fingerprints: fingerprints of the corpus' quantizer and unit language.
            corpus: the corpus, for messages.

        Raises:
            EchoxError: it has not finished, or was trained with others.
        """
        _ = self.weights
        for kind, fingerprint in fingerprints.items():
            if self.card.fingerprints[kind] != fingerprint:
                raise EchoxError(f"{option}: was trained with another {kind} than {corpus} has")

    @property
    def model_fingerprint(self) -> str:
        """Fingerprint of the best model: weights, shapes and tokenizer, wherever the folder lies.

        Raises:
            EchoxError: the run has not finished.
        """
        return model_fingerprint(self.weights, self.card.architecture, self.card.fingerprints["tokenizer"])

    @property
    def architecture(self) -> Architecture:
        """The architecture, with the sizes of the vocabularies."""
        return TypeAdapter(Architecture).validate_python(self.card.architecture)

    def tokenizer(self) -> TextTokenizer:
        """Return the tokenizer with which the model was trained."""
        return load_tokenizer(self.folder)

    def begin(self, tokenizer: TextTokenizer) -> None:
        """Write the card and the tokenizer, or check that the folder holds the same run, which may be lengthened.

        Raises:
            EchoxError: the folder holds another run.
        """
        if not (self.folder / CARD).exists():
            tokenizer.save(self.folder)
            self._write_card(replace=False)
            return
        found = RunFolder.open(self.folder).card
        lengthened = check_same(found, self.card, self.folder)
        if found.order != ORDER and self._is_finished(found):
            if lengthened:
                raise EchoxError(f"{self.folder}: is a run of echox {found.code}; lengthen it with that version")
            return
        if lengthened or found.order != ORDER:
            self._write_card(replace=True)

    def _is_finished(self, found: RunCard) -> bool:
        """Whether the run in the folder, whose examples came in another order, is finished rather than not begun.

        Raises:
            EchoxError: it has checkpoints and is not finished.
        """
        step = last_step(self.folder)
        if 0 < step < found.config["schedule"]["steps"]:
            problem = f"was trained to step {step} by echox {found.code}, which read the examples in another order"
            raise EchoxError(f"{self.folder}: {problem}; finish it with that version, or give another folder for --out")
        return step > 0

    def _write_card(self, *, replace: bool) -> None:
        data = yaml.safe_dump(self.card.model_dump(mode="json"), sort_keys=False).encode()
        write_file(self.folder / CARD, data, replace=replace)


def _complete(card: dict[str, Any]) -> None:
    """Give a card of the first order the settings of today that it does not have, or had with another default."""
    config = card.get("config", {})
    match config:
        case {"data": dict(data), "optimizer": dict(optimizer)}:
            now = DataConfig()
            data["streams"] = now.streams
            if data.get("shuffle_rows") == SHUFFLE_ROWS:
                data["shuffle_rows"] = now.shuffle_rows
            optimizer["part_lrs"] = {}
            config["log"] = LogConfig().model_dump(mode="json")
        case _:
            pass


def find_weights(folder: Path) -> Path:
    """Return the folder of the weights that a training may start from.

    Args:
        folder: a finished run, or a folder with a model's weights.

    Raises:
        EchoxError: it holds neither.
    """
    found = next((path for path in (folder / MODEL, folder) if (path / WEIGHTS).is_file()), None)
    if found is None:
        problem = f"neither a finished run nor a folder with {WEIGHTS}"
        raise EchoxError(f"--init {folder}: {problem}; train the run to its end, or give another folder")
    return found


def _complete_architecture(card: dict[str, Any]) -> None:
    """Give the architecture of a card the fields that it does not have yet, with their defaults."""
    with suppress(ValidationError):  # what is damaged stays as it is, and is told where it is used
        known = TypeAdapter(Architecture).validate_python(card.get("architecture"))
        card["architecture"] = dump_architecture(known)


def _complete_segments(config: Any) -> None:
    """Give the settings of a card the choice of segments, where it has only their lengths or null."""
    renamed = rename_segments(config)
    if renamed is not config:
        numbers = {"sentences": SentencesConfig().model_dump(), "trigger": TriggerConfig().model_dump()}
        config.update({**numbers, **renamed})


def last_step(folder: Path) -> int:
    """Return the step of the last checkpoint; 0 without one."""
    return max(_steps(folder, r"step_(\d+)"), default=0)


def unfinished_steps(folder: Path) -> list[int]:
    """Return the steps of checkpoints whose saving was begun and not ended."""
    return _steps(folder, r"step_(\d+)\.tmp")


def _steps(folder: Path, pattern: str) -> list[int]:
    names = (re.fullmatch(pattern, path.name) for path in (folder / CHECKPOINTS).glob("step_*"))
    return [int(name[1]) for name in names if name]


def check_same(found: RunCard, wanted: RunCard, folder: Path) -> bool:
    """Check that a run is resumed with what it began with; return whether it is to have more steps.

    Settings may be spelt differently, for instance by their old names, as long as they resolve to the same values.

    Raises:
        EchoxError: names the fields that differ.
    """
    changed = _changed_settings(found, wanted)
    before, now = changed.get("schedule.steps", (0, 0))
    if lengthened := now > before:
        del changed["schedule.steps"]
    others = [name for name in RunCard.model_fields if name not in {"code", "order", "settings", "config"}]
    differing = [name for name in others if getattr(found, name) != getattr(wanted, name)]
    told = [*differing, *(f"{name} ({before}, now {now})" for name, (before, now) in changed.items())]
    if told:
        raise EchoxError(f"{folder}: holds a run with another {', '.join(told)}; choose another folder for --out")
    return lengthened


def _changed_settings(found: RunCard, wanted: RunCard) -> dict[str, tuple[Any, Any]]:
    """Settings that differ: the value of each before, and now. Those of `log` may change."""
    before, now = _flat(found.config), _flat(wanted.config)
    differing = [name for name in (*now, *before) if before.get(name) != now.get(name)]
    names = [name for name in differing if not name.startswith("log.")]
    return {name: (before.get(name), now.get(name)) for name in names}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under their names with dots, as `--set` takes them."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return flat


def open_sources(folders: Mapping[str, str]) -> dict[str, RunFolder]:
    """Return the runs of folders, both by stage.

    Raises:
        EchoxError: a folder holds no run, or a run of another stage.
    """
    runs = {stage: RunFolder.open(Path(folder)) for stage, folder in folders.items()}
    for stage, run in runs.items():
        if run.card.stage != stage:
            raise EchoxError(f"--source {stage}={run.folder}: is a run of stage {run.card.stage}")
    return runs


def code_version() -> str:
    """Return the version of the package."""
    return version("echox")
