"""Labels of stage echo, written by finished S2T and T2C: what `train echo` would otherwise write in every step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from echox.data.corpus import Corpus
from echox.errors import EchoxError
from echox.labels.batch import Label, LabelBatch
from echox.recipes.folder import RunFolder, open_sources
from echox.recipes.settings import load_settings
from echox.recipes.stage import Setting

if TYPE_CHECKING:
    from echox.data.speech import SpokenExample
    from echox.models.echo import Echo
    from echox.recipes.stages.echo import EchoStageConfig, SpeechToSpeech

ONLINE = "online"
OWN_ANSWERS = ("pseudo", "labels", ONLINE)
"""Targets of stage echo for the answers that S2T gives itself."""


@dataclass(frozen=True)
class TooLong:
    """An example without a label: its prompt, speech or answer does not fit into a model's longest sequence."""

    message: str


def open_labelling(corpus: Corpus, folders: Mapping[str, str], settings: Sequence[str]) -> "SpeechToSpeech":
    """Return stage echo with the models and the settings that write labels.

    Args:
        corpus: the version to label.
        folders: folders of finished runs of `s2t` and `t2c`, by stage.
        settings: FIELD=VALUE of stage echo.

    Raises:
        EchoxError: a run is missing, unfinished, or does not fit the version or the other one; a setting is wrong.
    """
    from echox.recipes.stages.echo import SpeechToSpeech

    runs = _open(corpus, folders)
    s2t = runs["s2t"]
    config = cast("EchoStageConfig", load_settings(SpeechToSpeech, s2t.card.architecture_name, settings))
    if config.targets not in OWN_ANSWERS:
        raise EchoxError(f"targets={config.targets}: labels are words for S2T's own answers; leave this setting out")
    online = config.model_copy(update={"targets": ONLINE})
    return SpeechToSpeech(Setting(online, s2t.architecture, s2t.tokenizer(), corpus, runs))


def _open(corpus: Corpus, folders: Mapping[str, str]) -> dict[str, RunFolder]:
    runs = open_sources(folders)
    for stage, run in runs.items():
        run.check_words(f"--{stage} {run.folder}", corpus.fingerprints, corpus.version.uri)
    s2t, t2c = runs["s2t"], runs["t2c"]
    if s2t.card.fingerprints["tokenizer"] != t2c.card.fingerprints["tokenizer"]:
        raise EchoxError(f"{s2t.folder} and {t2c.folder}: have different tokenizers; train both on one version")
    if s2t.card.architecture["t2c"] != t2c.card.architecture["t2c"]:
        raise EchoxError(f"{s2t.folder} and {t2c.folder}: have different architectures; train both with the same")
    return runs


class Labeller:
    """S2T and T2C in memory, ready to write labels.

    Args:
        stage: stage echo, as `open_labelling` returned it.
        device: where the models compute.
        batch: examples that are answered together.
    """

    def __init__(self, stage: "SpeechToSpeech", device: str, batch: int) -> None:
        import torch

        self._stage = stage
        self._batch = batch
        self._device = torch.device(device)
        self._model = self._loaded()
        self._reading = stage.reading()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table `echo` that an example is made from."""
        return self._reading.columns

    def label(self, rows: Sequence[Mapping[str, Any]]) -> list[Label | TooLong]:
        """Return the labels of rows in their order; batches are made of rows of similar length, of these rows alone."""
        examples = [self._reading.example(row) for row in rows]
        order = sorted(range(len(examples)), key=lambda number: (examples[number].length, number))
        labels: dict[int, Label | TooLong] = {}
        for first in range(0, len(order), self._batch):
            chosen = order[first : first + self._batch]
            labels |= zip(chosen, self._labelled([examples[number] for number in chosen]), strict=True)
        return [labels[number] for number in range(len(rows))]

    def _labelled(self, examples: "Sequence[SpokenExample]") -> "Iterator[Label | TooLong]":
        """Yield the labels of a batch; if something is too long, each example is tried by itself."""
        try:
            yield from self._written(examples)
        except EchoxError as error:
            if len(examples) > 1:
                for example in examples:
                    yield from self._labelled([example])
            else:
                yield TooLong(str(error))

    def _written(self, examples: "Sequence[SpokenExample]") -> list[Label]:
        import torch

        batch = self._reading.collate(examples)
        batch.to(self._device)
        bf16 = self._stage.setting.config.parallel.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=bf16):
            made = self._stage.prepare(self._model, cast("Any", batch))
        return list(LabelBatch(made.inputs.response, made.segments, made.words).to(torch.device("cpu")).rows())

    def _loaded(self) -> "Echo":
        from echox.models.lora import merge_lora
        from echox.trainer.parallel import shrink_frozen

        model = self._stage.build()
        self._stage.load(model)
        model.requires_grad_(False).eval()
        merge_lora(model.s2t.llm)
        if self._stage.setting.config.parallel.precision == "bf16":
            shrink_frozen(model)
        return model.to(self._device)
