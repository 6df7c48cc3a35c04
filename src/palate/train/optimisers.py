"""The optimiser of a model: Adam on the net, and on its embedding tables what ``table_update`` says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from palate.errors import CheckpointError
from palate.train.adam import DenseAdam
from palate.train.contract import TrainConfig
from palate.train.lookups import hand_over
from palate.train.tables import DenseTableAdam, LazyAdam, RowwiseAdagrad

__all__ = ["Optimiser", "table_names"]

# Up to this many elements a dense gradient is as cheap as one by rows.
SMALL_TABLE = 1 << 20


class Part(Protocol):
    """The update of some parameters, in two moves."""

    def measure(self) -> float:
        """Return the squared norm of the gradient, L2 term included."""
        ...

    def apply(self, learning_rate: float, scale: float) -> None:
        """Move along ``scale`` times that gradient."""
        ...

    def moments(self) -> dict[str, Tensor]:
        """Return the tensors of the state by name."""
        ...


class Optimiser:
    """Updates every trainable parameter of a model; a parameter that is the weight of an embedding is a *table*.

    One step minimises ``task + embedding_l2 / 2 * |tables|^2 + net_l2 / 2 * |net|^2``. The gradient of the whole sum
    is clipped at ``gradient_clip`` by its norm over all parameters, then:

    - net: Adam;
    - tables, ``dense``: Adam on all rows, the published setting. Large tables never see a dense gradient;
    - tables, ``lazy``: Adam on the rows of the batch, L2 on these rows only;
    - tables, ``rowwise``: row-wise Adagrad on the rows of the batch, L2 on these rows only.

    While it lives, the embeddings hand over their gradients in the way that suits their update, see
    :mod:`palate.train.lookups`; :meth:`release` restores them.

    Args:
        model: The model; its loss has been (or will be) run backward before each :meth:`step`.
        config: The settings of the loop.

    Example:
        >>> model = nn.Sequential(nn.Embedding(5, 2), nn.Linear(2, 1))
        >>> optimiser = Optimiser(model, TrainConfig(embedding_l2=1e-5))
        >>> model(torch.tensor([1, 2, 2])).sum().backward()
        >>> norm = optimiser.step()
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self.config = config
        self.learning_rate = config.learning_rate
        self.parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        tables = table_names(model)
        net = {name: weight for name, weight in self.parameters.items() if name not in tables}
        self._net: list[Part] = [DenseAdam(net, config.net_l2)] if net else []
        self._tables = self._table_parts({name: self.parameters[name] for name in tables})
        by_rows = {id(part.weight) for part in self._tables if not isinstance(part, DenseAdam)}
        self._undo = [
            hand_over(module, by_rows=id(module.weight) in by_rows)
            for module in embeddings(model)
            if module.weight.requires_grad
        ]

    def _table_parts(
        self, tables: dict[str, nn.Parameter]
    ) -> list[DenseAdam | DenseTableAdam | LazyAdam | RowwiseAdagrad]:
        l2 = self.config.embedding_l2
        if self.config.table_update == "lazy":
            return [LazyAdam(name, table, l2) for name, table in tables.items()]
        if self.config.table_update == "rowwise":
            return [RowwiseAdagrad(name, table, l2) for name, table in tables.items()]
        small = {name: table for name, table in tables.items() if table.numel() <= SMALL_TABLE}
        large = [DenseTableAdam(name, table, l2) for name, table in tables.items() if name not in small]
        return [*([DenseAdam(small, l2)] if small else []), *large]

    @property
    def table_learning_rate(self) -> float:
        """The rate of the tables: it falls together with that of the net."""
        own = self.config.table_learning_rate
        return self.learning_rate if own is None else own * self.learning_rate / self.config.learning_rate

    @torch.no_grad()
    def measure(self) -> float:
        """Return the norm of the gradient of the whole objective, L2 terms included."""
        return math.sqrt(sum(part.measure() for part in [*self._net, *self._tables]))

    @torch.no_grad()
    def apply(self, norm: float) -> None:
        """Clip by the measured ``norm``, update every parameter, and drop the gradients."""
        clip = self.config.gradient_clip
        # The small addend is that of torch.nn.utils.clip_grad_norm_.
        scale = 1.0 if clip is None else min(1.0, clip / (norm + 1e-6))
        for part in self._net:
            part.apply(self.learning_rate, scale)
        for part in self._tables:
            part.apply(self.table_learning_rate, scale)
        self.zero_grad()

    def step(self) -> float:
        """Measure, apply, and return the norm of the gradient before clipping."""
        norm = self.measure()
        self.apply(norm)
        return norm

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for weight in self.parameters.values():
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return the moments and counts by name; they are the live tensors, not copies."""
        return {name: tensor for part in [*self._net, *self._tables] for name, tensor in part.moments().items()}

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned.

        Raises:
            CheckpointError: If the tensors are not those of this model.
        """
        own = self.state()
        differing = {name for name, tensor in own.items() if name not in tensors or tensors[name].shape != tensor.shape}
        differing |= set(tensors) - set(own)
        if differing:
            raise CheckpointError(
                f"The optimiser state does not fit the model: {', '.join(sorted(differing)[:5])} differ.",
                remedy="Continue with the model that wrote the checkpoint, or start over with resume=False.",
            )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])

    def release(self) -> None:
        """Give the embeddings back as they were found."""
        for undo in self._undo:
            undo()
        self._undo = []


def embeddings(model: nn.Module) -> list[nn.Embedding | nn.EmbeddingBag]:
    """Return the embedding modules of a model that hold a plain parameter."""
    found = [module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    return [module for module in found if isinstance(module.weight, nn.Parameter)]


def table_names(model: nn.Module) -> list[str]:
    """Return the names of the trainable parameters that are weights of embeddings, in the order of the model."""
    tables = {id(module.weight) for module in embeddings(model)}
    return [name for name, weight in model.named_parameters() if id(weight) in tables and weight.requires_grad]
