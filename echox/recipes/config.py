"""The settings of a stage; imports nothing heavy, so that they are checked before anything starts."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from echox.data.config import DataConfig
from echox.objectives import EchoLossConfig, S2TLossConfig
from echox.text.prompts import PromptFormat

Positive = Annotated[int, Field(ge=1)]


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class OptimizerConfig(_Config):
    """AdamW, and a cosine from its rate to a share of it."""

    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-5
    """Highest learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the running means of gradients and of their squares."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are scaled down to this norm; null leaves them as they are."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of the steps in which the rate rises from 0."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the rate that is left at the end."""


class ScheduleConfig(_Config):
    """When what happens, in optimizer steps."""

    steps: Positive = 10_000
    """How long to train; the learning rate's cosine depends on it."""
    log_every: Positive = 10
    """Metrics of training."""
    validate_every: Positive = 500
    """Validation; a multiple of `log_every`."""
    checkpoint_every: Positive = 500
    """Checkpoints to resume from; a multiple of `validate_every`."""

    @model_validator(mode="after")
    def _multiples(self) -> Self:
        if self.validate_every % self.log_every:
            raise ValueError(f"validate_every {self.validate_every} is no multiple of log_every {self.log_every}")
        if self.checkpoint_every % self.validate_every:
            multiple = f"no multiple of validate_every {self.validate_every}"
            raise ValueError(f"checkpoint_every {self.checkpoint_every} is {multiple}")
        return self


class ParallelConfig(_Config):
    """How the work is spread and in which precision."""

    strategy: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: every worker has the whole model; `fsdp`: FSDP2, each has a part."""
    accumulate: Positive = 1
    """Batches of a worker in one step."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """`bf16`: matrix products in bfloat16, frozen weights kept in it, trained weights in float32."""
    activation_checkpointing: bool = False
    """Recompute each layer in the backward pass instead of keeping its activations."""


class StageConfig(_Config):
    """What all stages have."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Seeds weights, order of the data and dropout."""
    data: DataConfig = DataConfig()
    """Examples and batches."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer and learning rate."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Steps, logging, validation, checkpoints."""
    parallel: ParallelConfig = ParallelConfig()
    """Workers and precision."""


class T2CStage(StageConfig):
    """Stage t2c."""

    valid_words: Positive = 1_024
    """Most words that a validation writes for a text."""


class SpokenStage(StageConfig):
    """What the stages with speech have."""

    prompt: PromptFormat = "llama3"
    """How the language model is asked."""
    system: str | None = None
    """System message of every prompt."""
    max_answer: Positive = 512
    """Most tokens that the language model writes."""


class S2TStage(SpokenStage):
    """Stage s2t."""

    data: DataConfig = DataConfig(batch_length=6_144)
    """Examples and batches: of `echox-8b`, as many whole windows of Whisper as fit on 80 GB, with a margin."""
    loss: S2TLossConfig = S2TLossConfig()
    """What is minimised."""


class SegmentsConfig(_Config):
    """How long answers are cut into examples of their own, in tokens."""

    shortest: Positive = 20
    """A segment ends with the first sentence that makes it at least so long."""
    longest: Positive = 60
    """Where no sentence ends, it ends here."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.longest < self.shortest:
            raise ValueError(f"longest {self.longest} is less than shortest {self.shortest}")
        return self


class EchoStage(SpokenStage):
    """Stage echo."""

    targets: Literal["pseudo", "pseudo_from_text", "annotated"] = "pseudo"
    """Words to learn: T2C's for what S2T itself answers, T2C's for the annotated answer, or the annotated words."""
    segments: SegmentsConfig | None = SegmentsConfig()
    """Cuts long answers; null, and always with `annotated`, takes them whole."""
    max_words: Positive = 1_024
    """Most words of a segment."""
    loss: EchoLossConfig = EchoLossConfig()
    """What is minimised."""


CONFIGS: dict[str, type[StageConfig]] = {"s2t": S2TStage, "t2c": T2CStage, "echo": EchoStage}
"""Settings by stage."""
