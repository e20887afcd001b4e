"""Settings that all stages share; each stage's own are in its module."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from echox.data.config import DataConfig
from echox.text.prompts import PromptFormat
from unitlang.config import FrozenConfig

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class OptimizerConfig(FrozenConfig):
    """AdamW with a cosine schedule of the learning rate."""

    lr: Rate = 1e-5
    """Highest learning rate."""
    part_lrs: dict[str, Rate] = Field(default={})
    """Highest learning rates of parts, by the beginnings of their weights' names: {adapter: 1e-4, llm: 2e-5}."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the running means of gradients and of their squares."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Decoupled weight decay of matrices; biases, norms and tables of embeddings have none."""
    max_grad_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradients, which are scaled down to it; null turns clipping off."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of the steps in which the learning rate rises from 0."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Final learning rate as a share of `lr`."""


class ScheduleConfig(FrozenConfig):
    """Length of training and intervals, in optimizer steps."""

    steps: Positive = 10_000
    """Length of training; the cosine of the learning rate depends on it."""
    log_every: Positive = 10
    """Interval of training metrics."""
    validate_every: Positive = 500
    """Interval of validation; a multiple of `log_every`."""
    checkpoint_every: Positive = 500
    """Interval of checkpoints; a multiple of `validate_every`."""

    @model_validator(mode="after")
    def _multiples(self) -> Self:
        if self.validate_every % self.log_every:
            raise ValueError(f"validate_every {self.validate_every} is no multiple of log_every {self.log_every}")
        if self.checkpoint_every % self.validate_every:
            multiple = f"no multiple of validate_every {self.validate_every}"
            raise ValueError(f"checkpoint_every {self.checkpoint_every} is {multiple}")
        return self


class ParallelConfig(FrozenConfig):
    """Distribution over workers, and precision."""

    strategy: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: every worker holds the whole model; `fsdp`: FSDP2, every worker holds a part."""
    gradient_accumulation: Positive = 1
    """Batches of a worker in one optimizer step."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """`bf16`: matrix products in bfloat16, frozen weights kept in it, trained weights in float32."""
    activation_checkpointing: bool = False
    """Recompute each layer in the backward pass instead of keeping its activations."""


class LogConfig(FrozenConfig):
    """Where metrics go besides metrics.jsonl and TensorBoard."""

    recorders: tuple[Literal["wandb"], ...] = ()
    """`wandb`: Weights & Biases; into the run's folder, unless the variable WANDB_MODE says `online`."""
    project: str = "echox"
    """Project of the recorders."""


class StageConfig(FrozenConfig):
    """Base class of the settings of a stage."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 1
    """Seed of weights, order of the data and dropout."""
    data: DataConfig = DataConfig()
    """Examples and batches."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer and learning rate."""
    schedule: ScheduleConfig = ScheduleConfig()
    """Steps, logging, validation, checkpoints."""
    parallel: ParallelConfig = ParallelConfig()
    """Distribution over workers, and precision."""
    log: LogConfig = LogConfig()
    """Where metrics go."""


class SpokenStageConfig(StageConfig):
    """Settings of the stages that read speech."""

    prompt: PromptFormat = "llama3"
    """Format of the language model's prompts."""
    system: str | None = None
    """System message of every prompt."""
    max_new_tokens: Positive = 512
    """Most tokens that the language model generates."""


def tiny_defaults(steps: int, *, max_tokens: int = 4096, **fields: Any) -> dict[str, Any]:
    """Return defaults with which a small model of random weights learns minutes of speech on a CPU.

    Args:
        steps: length of training, with two validations; a multiple of 20.
        max_tokens: positions of a batch.
        fields: further fields of the stage's settings.
    """
    return {
        "data": {"max_tokens": max_tokens, "max_length": 1024, "threads": 1},
        "optimizer": {"lr": 2e-3, "warmup": 0.05, "weight_decay": 0.01, "final_lr": 0.1},
        "parallel": {"precision": "fp32"},
        "schedule": {"steps": steps, "log_every": 10, "validate_every": steps // 2, "checkpoint_every": steps // 2},
        **fields,
    }
