r"""A Bayesian relation network: the entities of a life, their attributes, and what depends on what.

The joint distribution over all attributes of all entities is

.. math:: P(X) = \prod_x P(x \mid \mathrm{parents}(x)),

and ancestral sampling in topological order draws from exactly this joint, for many lives at a time.

Source:
    MemSim, Zhang et al., arXiv 2409.20163.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from palate.config import Config
from palate.errors import ConfigError, DataError, UnknownNameError
from palate.memory.conditionals import Attribute, Conditional, Copy, Digits, IntArray, Place, Switch, Template, Uniform

__all__ = ["EntityType", "Network", "NetworkConfig", "Profiles", "default_network", "read_toml"]

Value = str | int
Kind = Literal["user", "person", "event", "item", "place"]
Node = tuple[str, str]


class EntityType(Config):
    """A type of entity: its kind (how it is mentioned and asked for), and how many a life has."""

    type: str
    kind: Kind
    count: int = Field(ge=1)


class NetworkConfig(Config):
    """The file form of a network: entity types, word lists with one form per language, attributes."""

    name: str
    entity: tuple[EntityType, ...]
    lexicons: dict[str, tuple[tuple[str, ...], ...]]
    attribute: tuple[Attribute, ...]


class Network:
    """A checked network.

    Args:
        config: Its file form.

    Raises:
        ConfigError: For an unknown parent, a cycle, a table that does not fit or does not sum to one, an attribute
            said twice, a value without a form in every language, or a pool with fewer values than entities.

    Example:
        >>> lives = default_network().sample(3, seed=0)
        >>> lives.value(0, "colleague", 1, "workplace") == lives.value(0, "user", 0, "workplace")
        True
    """

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        self.lexicons = {name: tuple(entry[0] for entry in entries) for name, entries in config.lexicons.items()}
        self.counts = {entity.type: entity.count for entity in config.entity}
        self.kinds: dict[str, Kind] = {entity.type: entity.kind for entity in config.entity}
        self._check_words()
        self.nodes: dict[Node, Conditional] = {}
        for attribute in config.attribute:
            for owner in attribute.of:
                self._add(owner, attribute)
        self.order = self._sort()
        self.lexicon_of: dict[Node, str | None] = {}
        self.places: dict[Node, Place] = {}
        for node in self.order:
            self._check_node(node)
        self._check_pools()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a network from a TOML or JSON file."""
        return cls(NetworkConfig(**read_toml(Path(path))))

    def with_counts(self, **counts: int) -> Network:
        """Return this network with other numbers of entities, for example ``friend=6``."""
        unknown = [name for name in counts if name not in self.counts]
        if unknown:
            raise UnknownNameError.among("entity type", unknown[0], self.counts)
        entities = tuple(e.replace(count=counts.get(e.type, e.count)) for e in self.config.entity)
        return Network(self.config.replace(entity=entities))

    def attributes(self, owner: str) -> list[str]:
        """Return the attribute names of an entity type, in topological order."""
        return [name for kind, name in self.order if kind == owner]

    def sample(self, count: int, seed: int | list[int]) -> Profiles:
        """Draw ``count`` lives by ancestral sampling; the same seed gives the same lives."""
        rng = np.random.default_rng(seed)
        pools = self._draw_pools(rng, count)
        codes: dict[Node, IntArray] = {}
        for node in self.order:
            conditional, shape = self.nodes[node], (count, self.counts[node[0]])
            if node in pools:
                codes[node] = pools[node]
                continue
            parents = [np.broadcast_to(codes[self.parent(node[0], name)], shape) for name in conditional.parents]
            codes[node] = conditional.draw(rng, shape, parents, self.places[node])
        return Profiles(self, codes)

    def parent(self, owner: str, name: str) -> Node:
        """Return the node that ``name`` (``type.name`` or ``name``) means for an attribute of ``owner``."""
        other, dot, attribute = name.partition(".")
        return (other, attribute) if dot else (owner, name)

    def _check_words(self) -> None:
        languages = max((len(entry) for entries in self.config.lexicons.values() for entry in entries), default=1)
        for name, entries in self.config.lexicons.items():
            for entry in entries:
                if len(entry) != languages or not all(entry):
                    raise ConfigError(
                        f'Lexicon "{name}": {list(entry)} has no form in every one of {languages} languages.'
                    )
            if len({entry[0] for entry in entries}) != len(entries):
                raise ConfigError(f'Lexicon "{name}" lists a value twice.')

    def _add(self, owner: str, attribute: Conditional) -> None:
        if owner not in self.counts:
            raise UnknownNameError.among("entity type", owner, self.counts)
        if (owner, attribute.name) in self.nodes:
            raise ConfigError(f'Attribute "{attribute.name}" of "{owner}" is defined twice.')
        self.nodes[owner, attribute.name] = attribute

    def _sort(self) -> list[Node]:
        graph: dict[Node, list[Node]] = {}
        for (owner, name), conditional in self.nodes.items():
            graph[owner, name] = [self.parent(owner, parent) for parent in conditional.parents]
            for parent in graph[owner, name]:
                if parent not in self.nodes:
                    known = [".".join(node) for node in self.nodes]
                    raise UnknownNameError.among("attribute", ".".join(parent), known)
                if parent[0] != owner and self.counts[parent[0]] != 1:
                    raise ConfigError(
                        f'"{owner}.{name}" depends on "{".".join(parent)}", and there are {self.counts[parent[0]]} '
                        f'of "{parent[0]}".',
                        remedy="A parent of another type must be an entity that occurs once.",
                    )
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            path = " -> ".join(".".join(node) for node in error.args[1])
            raise ConfigError(f"The network has a cycle: {path}.") from None

    def _check_node(self, node: Node) -> None:
        conditional = self.nodes[node]
        nodes = [self.parent(node[0], name) for name in conditional.parents]
        lexicon = conditional.lexicon
        if lexicon is None and isinstance(conditional, Copy):
            lexicon = self.lexicon_of[nodes[0]]
        for name in [lexicon, *(conditional.lexicons if isinstance(conditional, Switch) else ())]:
            if name is not None and name not in self.lexicons:
                raise UnknownNameError.among("lexicon", name, self.lexicons)
        self.lexicon_of[node] = lexicon
        names = [self.lexicon_of[parent] for parent in nodes]
        conditional.check(
            len(self.lexicons[lexicon]) if lexicon else None,
            [len(self.lexicons[name]) if name else None for name in names],
        )
        sizes = tuple(len(self.lexicons[name]) if name else None for name in names)
        chosen = self._chosen(conditional, lexicon, names)
        self.places[node] = Place(len(self.lexicons[lexicon]) if lexicon else 0, sizes, chosen)

    def _chosen(self, conditional: Conditional, lexicon: str | None, parents: list[str | None]) -> tuple[int, ...]:
        """Return the codes of the words of ``choose`` and ``only``."""
        words: tuple[str, ...] = ()
        source = lexicon
        if isinstance(conditional, Uniform):
            words = conditional.choose
        elif isinstance(conditional, Copy) and conditional.only:
            words, source = conditional.only, parents[1]
        if not words or source is None:
            return ()
        known = self.lexicons[source]
        for word in words:
            if word not in known:
                raise UnknownNameError.among(f"value of {conditional.name}", word, known)
        return tuple(known.index(word) for word in words)

    def _pool_sizes(self) -> dict[str, tuple[list[Node], int]]:
        pools: dict[str, tuple[list[Node], int]] = {}
        for node, conditional in self.nodes.items():
            if conditional.pool is None:
                continue
            names = conditional.lexicons if isinstance(conditional, Switch) else (self.lexicon_of[node],)
            size = min(len(self.lexicons[name]) for name in names if name is not None)
            members, before = pools.setdefault(conditional.pool, ([], size))
            members.append(node)
            pools[conditional.pool] = (members, min(before, size))
        return pools

    def _check_pools(self) -> None:
        for pool, (members, size) in self._pool_sizes().items():
            needed = sum(self.counts[owner] for owner, _ in members)
            if needed > size:
                raise ConfigError(
                    f'Pool "{pool}" has {size} values for {needed} entities that must differ.',
                    remedy="Add words to its lexicon, or lower the counts.",
                )

    def _draw_pools(self, rng: np.random.Generator, count: int) -> dict[Node, IntArray]:
        drawn: dict[Node, IntArray] = {}
        for members, size in self._pool_sizes().values():
            ranked = np.argsort(rng.random((count, size)), axis=1)
            start = 0
            for node in members:
                drawn[node] = ranked[:, start : start + self.counts[node[0]]]
                start += self.counts[node[0]]
        return drawn


@dataclass(frozen=True)
class Profiles:
    """Sampled lives.

    Attributes:
        network: Where they were drawn from.
        codes: Integer codes by (entity type, attribute), int64 ``[N, C]``.
    """

    network: Network
    codes: Mapping[Node, IntArray]

    def __len__(self) -> int:
        return len(next(iter(self.codes.values())))

    def value(self, life: int, owner: str, index: int, name: str) -> Value:
        """Return the value of an attribute of entity ``index`` of type ``owner``: a number or an English word."""
        return self.reader(owner, name)(life, index)

    def reader(self, owner: str, name: str) -> Callable[[int, int], Value]:
        """Return a quick ``(life, index) -> value`` for one attribute."""
        network = self.network
        conditional = network.nodes[owner, name]
        codes: list[list[int]] = self.codes[owner, name].tolist()
        lexicon = network.lexicon_of[owner, name]
        if lexicon is not None:
            words = network.lexicons[lexicon]
            return lambda life, index: words[codes[life][index]]
        if isinstance(conditional, Digits):
            prefix, width = conditional.prefix, conditional.digits
            return lambda life, index: f"{prefix}{codes[life][index]:0{width}d}"
        if isinstance(conditional, Switch):
            choice: list[list[int]] = self.codes[network.parent(owner, conditional.parents[0])].tolist()
            lists = [network.lexicons[entry] for entry in conditional.lexicons]
            return lambda life, index: lists[choice[life][index]][codes[life][index]]
        if isinstance(conditional, Template):
            return self._composer(owner, conditional)
        return lambda life, index: codes[life][index]

    def _composer(self, owner: str, template: Template) -> Callable[[int, int], Value]:
        nodes = [self.network.parent(owner, name) for name in template.parents]
        parts = [(self.reader(*node), node[0] == owner) for node in nodes]
        text, slug = template.text, template.slug

        def compose(life: int, index: int) -> str:
            words = [str(read(life, index if own else 0)) for read, own in parts]
            return text.format(*(word.lower().replace(" ", "-") for word in words) if slug else words)

        return compose


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML or JSON file.

    Raises:
        DataError: If the file is missing or is not of its format.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise DataError(f"{path.name} holds a {type(found).__name__}, a table of keys is expected.")
    return found


@cache
def default_network() -> Network:
    """Return the network that comes with Palate: 8 entity types, 21 entities and 103 attributes counted per type."""
    with resources.as_file(resources.files("palate.memory") / "shipped" / "life.toml") as path:
        return Network.load(path)
