"""From a preset's defaults and FIELD=VALUE settings to the checked configuration of a stage."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from echox.errors import EchoxError
from echox.recipes.config import CONFIGS, StageConfig


def _schedule(steps: int) -> dict[str, int]:
    """Two validations."""
    return {"steps": steps, "log_every": 10, "validate_every": steps // 2, "checkpoint_every": steps // 2}


TINY: dict[str, Any] = {
    "data": {"batch_length": 4096, "max_length": 1024, "threads": 1},
    "optimizer": {"lr": 2e-3, "warmup": 0.05, "weight_decay": 0.01, "final_lr": 0.1},
    "parallel": {"precision": "fp32"},
}
"""What a model of random weights needs to learn a few minutes of speech on a CPU."""
DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "tiny": {
        "s2t": TINY | {"schedule": _schedule(140), "data": TINY["data"] | {"batch_length": 1536}},
        "t2c": TINY | {"schedule": _schedule(200)},
        "echo": TINY | {"schedule": _schedule(60), "max_answer": 32, "max_words": 128},
    },
}
"""By preset and stage; others have the defaults of the configuration, which are those of the papers."""


def load_settings(stage: str, preset: str, settings: Sequence[str]) -> StageConfig:
    """The configuration of a stage.

    Args:
        stage: a key of `CONFIGS`.
        preset: name of an architecture.
        settings: `FIELD=VALUE`, nested fields with dots, values in YAML; later ones win.

    Raises:
        EchoxError: naming all that is wrong with them.
    """
    values = copy.deepcopy(dict(DEFAULTS.get(preset, {}).get(stage, {})))
    for setting in settings:
        _set(values, setting)
    try:
        return CONFIGS[stage].model_validate(values)
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise EchoxError("\n".join([f"settings of stage {stage}:", *faults])) from None


def _set(values: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise EchoxError(f"--set {setting}: write FIELD=VALUE, for instance --set optimizer.lr=1e-4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EchoxError(f"--set {setting}: the value is not YAML: {error}") from None
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise EchoxError(f"--set {setting}: {name} is a value, it has no fields")
    place[last] = value
