"""The training of `miniature.py` for one seed: the text LLM, then the stages through `echox.training`."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from miniature_llm import Pair, teach
from rich.console import Console

from echox.architectures import Architecture, dump_architecture
from echox.models.adapter import AdapterConfig
from echox.models.decoder import DecoderConfig
from echox.models.echo import EchoConfig
from echox.models.encoder import EncoderConfig
from echox.models.language_model import LanguageModelConfig
from echox.models.lora import LoraConfig
from echox.models.t2c import T2CConfig
from echox.stages import stage_class
from echox.text.prompts import Prompter
from echox.text.sentencepiece import SentencePieceTokenizer
from echox.training import TrainingRequest, train

LLAMA = DecoderConfig(layers=2, hidden_size=96, heads=4, key_value_heads=2, intermediate_size=256, max_length=256)
LORA = LoraConfig(rank=16, alpha=16.0, dropout=0.0)
MOST_TOKENS = 1_024
COMMON = (
    "parallel.precision=fp32",
    "optimizer.warmup=0.1",
    "optimizer.weight_decay=0.01",
    "optimizer.final_lr=0.05",
    "data.max_length=128",
    "data.threads=1",
    "data.shuffle_rows=4096",
)
S2T = ("optimizer.lr=2.5e-3", "data.max_tokens=1024", "max_new_tokens=16", "loss.ctc_weight=1.0")
T2C = ("optimizer.lr=2e-3", "data.max_tokens=2048", "valid_words=64")
ECHO = ("optimizer.lr=1e-3", "data.max_tokens=1024", "max_new_tokens=16", "max_words=64")
VARIANTS = {
    "echo": (),
    "echo, no denoising": ("loss.denoising_weight=0",),
    "echo, annotated": ("targets=annotated",),
}
"""Further settings of stage echo, by way of answering."""

SHOWN: Mapping[str, Sequence[str]] = {
    "s2t": ("response", "ctc", "exact_match"),
    "t2c": ("words", "unit_error_rate"),
    "echo": ("words", "cosine", "unit_error_rate"),
}
"""Metrics of the last validation that are printed, by stage."""


@dataclass(frozen=True)
class Steps:
    """Lengths of training in optimizer steps."""

    llm: int
    s2t: int
    t2c: int
    echo: int


@dataclass(frozen=True)
class Trained:
    """The models of one seed.

    Attributes:
        llm: the text LLM before stage s2t.
        prompter: makes its prompts.
        echo: runs of stage echo by name.
    """

    llm: Any
    prompter: Prompter
    echo: Mapping[str, Path]


def teach_and_train(
    folder: Path, pairs: Sequence[Pair], corpus: str, steps: Steps, seed: int, console: Console
) -> Trained:
    """Train everything from random weights of one seed.

    Args:
        folder: folder of the seed.
        pairs: questions and answers as text.
        corpus: STORE@VERSION.
        steps: lengths of training.
        seed: seed of weights and of the order of the data.
        console: prints the progress.
    """
    folder.mkdir(parents=True)
    prompter = Prompter(tokenizer(pairs))
    began = time.time()
    llm = teach(folder / "llm", pairs, prompter, LLAMA, seed, steps.llm)
    console.print(f"seed {seed}: LLM {time.time() - began:.0f} s")
    file = folder / "architecture.yaml"
    file.write_text(yaml.safe_dump(dump_architecture(architecture(folder / "llm", prompter.tokenizer.vocab_size))))
    trainer = Trainer(folder, corpus, str(file), seed, console)
    trainer.train("s2t", "s2t", steps.s2t, S2T)
    trainer.train("t2c", "t2c", steps.t2c, T2C)
    for name, changes in VARIANTS.items():
        trainer.train("echo", name, steps.echo, (*ECHO, *changes))
    return Trained(llm, prompter, {name: folder / name for name in VARIANTS})


def tokenizer(pairs: Sequence[Pair]) -> SentencePieceTokenizer:
    """Return a tokenizer learnt from questions, answers and the roles of a prompt, so that a role is one token."""
    roles = ["user", "assistant"] * len(pairs)
    return SentencePieceTokenizer.learn([*roles, *(text for pair in pairs for text in pair)], MOST_TOKENS)


def architecture(llm: Path, vocabulary: int) -> Architecture:
    """Return `tiny` with a smaller window, half as many frames, since tokens are whole words, and the trained LLM."""
    return Architecture(
        encoder=EncoderConfig(
            layers=2,
            hidden_size=64,
            heads=4,
            intermediate_size=256,
            mels=80,
            max_frames=600,
            full_window=False,
            trainable=True,
        ),
        adapter=AdapterConfig(heads=4, stack=4),
        llm=LanguageModelConfig(decoder=LLAMA, vocabulary=vocabulary, lora=LORA, checkpoint=str(llm)),
        t2c=T2CConfig(
            decoder=replace(LLAMA, layers=2), text_hidden_size=LLAMA.hidden_size, text_vocabulary=vocabulary, words=8
        ),
        echo=EchoConfig(inner=256),
    )


@dataclass(frozen=True)
class Trainer:
    """Trains stages of one seed.

    Attributes:
        folder: folder of the runs.
        corpus: STORE@VERSION.
        architecture: file of the architecture.
        seed: seed of all stages.
        console: prints finished runs.
    """

    folder: Path
    corpus: str
    architecture: str
    seed: int
    console: Console

    def train(self, stage: str, name: str, steps: int, settings: Sequence[str]) -> None:
        """Train a stage into the folder `name`."""
        half = steps // 2
        schedule = f"{{steps: {steps}, log_every: {half}, validate_every: {half}, checkpoint_every: {half}}}"
        request = TrainingRequest(
            stage=stage,
            corpus=self.corpus,
            architecture=self.architecture,
            out=str(self.folder / name),
            source_models={source: str(self.folder / source) for source in stage_class(stage).stands_on},
            settings=(*COMMON, f"schedule={schedule}", f"seed={self.seed}", *settings),
        )
        began = time.time()
        metrics = train(request, lambda _: None).metrics
        shown = ", ".join(f"{key} {metrics['valid/' + key]:.3f}" for key in SHOWN[stage])
        self.console.print(f"seed {self.seed}: {name} {time.time() - began:.0f} s; validation: {shown}")
