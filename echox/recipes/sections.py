"""From a stage's settings to fairseq2's configuration."""

import re
from dataclasses import dataclass, field

import torch
from fairseq2.recipe.config import (
    ActivationCheckpointingConfig,
    AdamWConfig,
    AdamWGroupConfig,
    CommonSection,
    GangSection,
    GradAccumulationConfig,
    LRSchedulerSection,
    MetricRecordersConfig,
    MixedPrecisionConfig,
    ModelSection,
    OptimizerSection,
    RegimeSection,
    TensorBoardConfig,
    TrainerSection,
)
from torch import nn

from echox.errors import EchoxError
from echox.recipes.config import OptimizerConfig, ParallelConfig, ScheduleConfig, StageConfig
from echox.trainer.schedule import COSINE, CosineConfig
from unitlang.registry import nearest

FAMILY = "echox"
"""Name under which a stage's model is registered."""
UNDECAYED = r".*(bias|norm[^.]*\.weight|embed[^.]*\.weight)$"
"""Pattern of the names of weights that decay would only harm: biases, scales of norms, tables of embeddings."""


@dataclass(kw_only=True)
class Sections:
    """The configuration of a fairseq2 recipe; the type hint of `model` makes it one that trains."""

    model: ModelSection = field(default_factory=lambda: ModelSection(family=FAMILY))
    gang: GangSection = field(default_factory=GangSection)
    trainer: TrainerSection
    optimizer: OptimizerSection
    lr_scheduler: LRSchedulerSection
    regime: RegimeSection
    common: CommonSection


def to_sections(config: StageConfig) -> Sections:
    """Return the same settings for fairseq2."""
    return Sections(
        trainer=_trainer(config.parallel, config.optimizer.max_grad_norm),
        optimizer=_optimizer(config.optimizer),
        lr_scheduler=_lr_scheduler(config.optimizer, config.schedule.steps),
        regime=_regime(config.schedule),
        common=CommonSection(
            seed=config.seed,
            no_sweep_dir=True,  # otherwise the folder depends on the number of workers
            cluster="none",  # the caller has set the process group's variables
            metric_recorders=MetricRecordersConfig(tensorboard=TensorBoardConfig(enabled=False)),
        ),
    )


def _trainer(config: ParallelConfig, max_grad_norm: float | None) -> TrainerSection:
    batches = config.gradient_accumulation
    return TrainerSection(
        data_parallelism=config.strategy,
        mixed_precision=MixedPrecisionConfig(
            mode="static" if config.precision == "bf16" else "off", dtype=torch.bfloat16
        ),
        grad_accumulation=GradAccumulationConfig(num_batches=batches, no_sync=batches > 1),
        activation_checkpointing=ActivationCheckpointingConfig(
            mode="layerwise" if config.activation_checkpointing else "off"
        ),
        max_grad_norm=max_grad_norm,
    )


def _optimizer(config: OptimizerConfig) -> OptimizerSection:
    parts = [(_named(part), lr) for part, lr in config.part_lrs.items()]
    plain = [
        AdamWGroupConfig(params=part + UNDECAYED, lr=lr, weight_decay=0.0) for part, lr in (*parts, ("", config.lr))
    ]
    decayed = [AdamWGroupConfig(params=part, lr=lr) for part, lr in parts]
    return OptimizerSection(
        config=AdamWConfig(
            lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, groups=[*plain, *decayed]
        )
    )


def _named(part: str) -> str:
    """Pattern of the names of a part's weights, also inside DDP."""
    return rf"(module\.)?{re.escape(part)}\."


def check_parts(config: OptimizerConfig, model: nn.Module) -> None:
    """Check that each part with a learning rate of its own has weights that are trained.

    Raises:
        EchoxError: names the part, and those that there are.
    """
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for part in config.part_lrs:
        if not any(re.match(_named(part), name) for name in trained):
            parts = sorted({name.partition(".")[0] for name in trained})
            raise EchoxError(f"optimizer.part_lrs: no trained weights begin with {part!r}; {nearest(part, parts)}")


def _lr_scheduler(config: OptimizerConfig, steps: int) -> LRSchedulerSection:
    shape = CosineConfig(steps=steps, warmup=round(config.warmup * steps), final=config.final_lr)
    return LRSchedulerSection(name=COSINE, config=shape)


def _regime(config: ScheduleConfig) -> RegimeSection:
    return RegimeSection(
        num_steps=config.steps,
        publish_metrics_every_n_steps=config.log_every,
        validate_every_n_steps=config.validate_every,
        checkpoint_every_n_steps=config.checkpoint_every,
        score_metric="loss",
        keep_last_n_checkpoints=1,
        keep_best_n_checkpoints=1,
    )
