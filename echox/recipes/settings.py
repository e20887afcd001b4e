"""From a stage's defaults and FIELD=VALUE settings to its checked configuration."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from echox.config.faults import Change, faults_of, report
from echox.config.values import apply_change
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
    changes = [_apply(values, setting) for setting in settings]
    try:
        return stage.config.model_validate(values)
    except ValidationError as error:
        faults = faults_of(error, stage.config, values)
        raise EchoxError(report(f"defaults of stage {stage.name}", faults, changes)) from None


def _apply(values: dict[str, Any], setting: str) -> Change:
    """Change one field; old names of fields mean the new ones."""
    typed = f"--set {setting}"
    path, equals, text = setting.partition("=")
    change = apply_change(values, rename_path(path, typed) + equals + text)
    renamed = rename_fields(values, typed)
    values.clear()
    values.update(renamed)
    return replace(change, text=typed)
