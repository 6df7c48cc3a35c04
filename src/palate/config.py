"""One base for every configuration: frozen, typed, and strict about names.

A key that no field has is refused with the nearest field as a suggestion; a value of the wrong type is refused
with what came and what would be right. Both arrive as one :class:`~palate.errors.ConfigError`, whether the
config was built in Python, from a file, from the command line or from an HTTP body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from palate.errors import ConfigError, suggest

__all__ = ["SIZES", "Config", "ModelConfig", "Size"]

Size = Literal["tiny", "small", "base"]
SIZES: tuple[Size, ...] = ("tiny", "small", "base")


class Config(BaseModel):
    """Frozen settings; unknown keys and wrong types are errors that say what would be right.

    Example:
        >>> class Cake(Config):
        ...     layers: int = 2
        >>> Cake(layers=3).layers
        3
        >>> Cake(layer=3)
        Traceback (most recent call last):
        palate.errors.ConfigError: [P100] Cake has no setting "layer". Did you mean "layers"?
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=False)

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(values, Mapping):
            unknown = [str(key) for key in values if key not in cls.model_fields]
            if unknown:
                plural = "settings" if len(unknown) > 1 else "setting"
                names = ", ".join(f'"{key}"' for key in unknown)
                remedy = " ".join(dict.fromkeys(suggest(key, cls.model_fields) for key in unknown))
                raise ConfigError(f"{cls.__name__} has no {plural} {names}.", remedy=remedy)
        try:
            return handler(values)
        except ValidationError as error:
            raise ConfigError("; ".join(_sentence(cls.__name__, entry) for entry in error.errors()) + ".") from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with ``changes`` applied and checked like any other input."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**{**fields, **changes})


class ModelConfig(Config):
    """Settings of a model, with one dial: ``size`` fixes the rest by rule, and each can be overridden.

    A subclass lists in ``sizes`` what ``tiny`` (under a minute on two CPU cores), ``small`` and ``base`` (the
    published setting) mean.
    """

    sizes: ClassVar[Mapping[Size, Mapping[str, Any]]] = {}

    @classmethod
    def sized(cls, size: Size = "tiny", **overrides: Any) -> Self:
        """Return the settings of ``size`` with ``overrides`` on top."""
        if size not in SIZES:
            raise ConfigError(f'There is no size "{size}".', remedy=suggest(size, SIZES))
        return cls(**{**cls.sizes.get(size, {}), **overrides})


def _sentence(owner: str, entry: Any) -> str:
    place = ".".join(str(part) for part in entry["loc"]) or owner
    return f"{owner}: {place} = {entry['input']!r} is not valid: {entry['msg']}"
