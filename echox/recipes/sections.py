"""From a stage's settings to fairseq2's configuration."""

from dataclasses import dataclass, field

import torch
from fairseq2.recipe.config import (
    ActivationCheckpointingConfig,
    AdamWConfig,
    CommonSection,
    CosineAnnealingLRConfig,
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

from echox.recipes.config import OptimizerConfig, ParallelConfig, ScheduleConfig, StageConfig

FAMILY = "echox"
"""Name under which a stage's model is registered."""


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
    return OptimizerSection(config=AdamWConfig(lr=config.lr, betas=config.betas, weight_decay=config.weight_decay))


def _lr_scheduler(config: OptimizerConfig, steps: int) -> LRSchedulerSection:
    warmup = round(config.warmup * steps)
    return LRSchedulerSection(
        config=CosineAnnealingLRConfig(
            cycle_len=steps - warmup, num_warmup_steps=warmup, final_lr_scale=config.final_lr
        )
    )


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
