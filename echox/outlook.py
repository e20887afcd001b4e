"""The extent of a training, before it begins."""

from dataclasses import dataclass
from typing import Any

from echox.data.corpus import Corpus, hold_out
from echox.recipes.config import StageConfig
from echox.recipes.stage import Stage


@dataclass(frozen=True)
class Outlook:
    """The extent of a training.

    Attributes:
        stage: name of the stage.
        corpus: STORE@VERSION.
        steps: optimizer steps.
        examples: examples of an epoch; expected, where a share of them is held out.
        held_out: examples to validate on.
    """

    stage: str
    corpus: str
    steps: int
    examples: int
    held_out: int


def outlook_of(stage: type[Stage[Any, Any, Any]], config: StageConfig, corpus: Corpus) -> Outlook:
    """Return how much a stage is going to train on, from the receipts of the corpus alone.

    Raises:
        EchoxError: the corpus has no examples for the stage.
        StorageError: the store does not answer or refuses.
    """
    holdout = hold_out(corpus, stage.table, config.data.valid_fraction, stage.fed_by)
    counts = [group.counts for group in corpus.row_groups(stage.table)]
    train, valid = (sum(group.train for group in counts), sum(group.valid for group in counts))
    held_out = valid or max(1, round(train * holdout.share))
    examples = train if valid else train - held_out
    return Outlook(stage.name, corpus.version.uri, config.schedule.steps, examples, held_out)
