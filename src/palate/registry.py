"""Public name -> component, with wildcard listing; outsiders add theirs through entry points.

A component registers itself where it is defined, so adding one touches one file:

    @register("ranker", "qnn-alpha", source="Li et al., KDD 2025, arXiv 2505.17999")
    class QNNAlpha(Ranker): ...

Rooms are imported when the first name of their kind is looked up, never by ``import palate``. A package outside
Palate names its modules under the entry point group ``palate.components``; importing them registers theirs.
"""

from __future__ import annotations

import fnmatch
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from palate.errors import ConfigError, UnknownNameError

__all__ = ["Component", "Kind", "Status", "components", "find", "models", "names", "register"]

Kind = Literal[
    "ranker",
    "next-item",
    "calibrator",
    "encoder",
    "item-tokenizer",
    "memory",
    "memory-reader",
    "personalizer",
]
Status = Literal["stable", "preview"]

# Where each kind lives. Every module of these packages is imported once, on the first look-up of the kind.
_ROOMS: dict[Kind, tuple[str, ...]] = {
    "ranker": ("palate.rank",),
    "next-item": ("palate.sequence", "palate.generate", "palate.graph"),
    "calibrator": ("palate.calibrate",),
    "encoder": ("palate.represent",),
    "item-tokenizer": ("palate.represent",),
    "memory": ("palate.memory",),
    "memory-reader": ("palate.memory",),
    "personalizer": ("palate.personalize",),
}

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Component:
    """A registered thing: its public name, what makes it, and what a user should know before choosing it.

    Attributes:
        kind: What contract it keeps.
        name: Public name, lower case with hyphens.
        factory: Class (or function) that builds it.
        summary: First sentence of its docstring.
        source: Paper or origin.
        status: ``stable`` or ``preview``.
        extra: Name of the extra that it needs, or an empty string.
    """

    kind: Kind
    name: str
    factory: Callable[..., Any]
    summary: str
    source: str
    status: Status
    extra: str


_components: dict[tuple[Kind, str], Component] = {}
_loaded: set[str] = set()


def register(
    kind: Kind, name: str, *, source: str = "", status: Status = "stable", extra: str = ""
) -> Callable[[T], T]:
    """Return a decorator that gives a class its public name.

    Args:
        kind: The contract that the class keeps.
        name: Public name, lower case, words joined by hyphens.
        source: Paper or origin, as it should stand in a listing.
        status: ``preview`` while the interface may still change.
        extra: The extra that must be installed to use it.

    Raises:
        ConfigError: If another object already has this name, or the name is not of the agreed form.
    """
    if kind not in get_args(Kind):
        raise UnknownNameError.among("kind of component", kind, get_args(Kind))
    if name != name.lower() or "_" in name or " " in name:
        raise ConfigError(f'"{name}" is not a public name.', remedy="Use lower case and hyphens.")

    def add(factory: T) -> T:
        known = _components.get((kind, name))
        where = f"{factory.__module__}.{factory.__qualname__}"
        if known is not None and f"{known.factory.__module__}.{known.factory.__qualname__}" != where:
            raise ConfigError(f'"{name}" is already the name of {known.factory.__qualname__}, a {kind}.')
        summary = (factory.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
        summary = " ".join(summary.split())
        _components[(kind, name)] = Component(kind, name, factory, summary, source, status, extra)
        return factory

    return add


def names(kind: Kind, pattern: str = "*") -> list[str]:
    """Return the sorted public names of ``kind`` that match a shell-style ``pattern``."""
    return [component.name for component in components(pattern, kind)]


def components(pattern: str = "*", *kinds: Kind) -> list[Component]:
    """Return the components whose name matches ``pattern``, of the given kinds (all when none is given)."""
    wanted = kinds or get_args(Kind)
    for kind in wanted:
        _load(kind)
    found = [c for c in _components.values() if c.kind in wanted and fnmatch.fnmatchcase(c.name, pattern)]
    return sorted(found, key=lambda component: (component.kind, component.name))


def models(pattern: str = "*") -> list[str]:
    """Return the names of the models that ``palate.fit`` takes: rankers and next-item models.

    Example:
        >>> models("qnn-alpha")
        ['qnn-alpha']
    """
    return sorted(component.name for component in components(pattern, "ranker", "next-item"))


def find(kind: Kind, name: str) -> Component:
    """Return the component of ``kind`` called ``name``.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest name.
    """
    _load(kind)
    try:
        return _components[(kind, name)]
    except KeyError:
        raise UnknownNameError.among(kind, name, names(kind)) from None


def _load(kind: Kind) -> None:
    for room in _ROOMS[kind]:
        if room in _loaded:
            continue
        _loaded.add(room)
        package = importlib.import_module(room)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{room}.{module.name}")
    if "entry points" not in _loaded:
        _loaded.add("entry points")
        for point in importlib.metadata.entry_points(group="palate.components"):
            point.load()
