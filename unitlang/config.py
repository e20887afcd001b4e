"""Base class of all pydantic configs."""

from typing import Any, cast

from pydantic import BaseModel, ConfigDict, field_validator

from unitlang.urls import redacted


class FrozenConfig(BaseModel):
    """An immutable config that refuses unknown fields and takes field descriptions from the docstrings below them.

    Configs are kept for others to read, so a text with a URL that holds a secret is refused, in any field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*")
    @classmethod
    def _hold_no_secret(cls, value: Any) -> Any:
        texts = cast("tuple[Any, ...]", value if isinstance(value, tuple) else (value,))
        if any(isinstance(text, str) and redacted(text) != text for text in texts):
            raise ValueError(
                "holds a password, token or signature; leave it out: servers' passwords come from ~/.netrc, S3's "
                "from the AWS_* variables"
            )
        return value
