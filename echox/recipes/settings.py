"""From a stage's defaults and FIELD=VALUE settings to its checked configuration."""

import copy
from collections.abc import Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from echox.errors import EchoxError
from echox.recipes.config import StageConfig
from echox.recipes.stage import Stage
from echox.renamed import rename_fields, rename_path


def load_settings(stage: type[Stage[Any, Any, Any]], architecture: str, settings: Sequence[str]) -> StageConfig:
    """Return the configuration of a stage.

    Args:
        stage: the stage, which brings the defaults.
        architecture: name of an architecture, which may have defaults of its own.
        settings: `FIELD=VALUE`, nested fields with dots, values in YAML; later ones win.

    Raises:
        EchoxError: names everything that is wrong with the settings.
    """
    values = copy.deepcopy(dict(stage.defaults.get(architecture, {})))
    for setting in settings:
        _set(values, setting)
    try:
        return stage.config.model_validate(values)
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise EchoxError("\n".join([f"settings of stage {stage.name}:", *faults])) from None


def _set(values: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise EchoxError(f"--set {setting}: write FIELD=VALUE, for instance --set optimizer.lr=1e-4")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EchoxError(f"--set {setting}: the value is not YAML: {error}") from None
    *parents, last = rename_path(path, f"--set {setting}").split(".")
    place = values
    for name in parents:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise EchoxError(f"--set {setting}: {name} is a value, it has no fields")
    place[last] = rename_fields(value, f"--set {setting}")
