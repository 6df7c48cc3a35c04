"""The settings that every ranker with a tower over its embeddings shares, and the tower that they describe."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from palate.config import ModelConfig
from palate.rank.layers import MLP

__all__ = ["OptionalTowerConfig", "TowerConfig", "make_tower"]


class TowerConfig(ModelConfig):
    """Settings of embeddings and of a tower on top of them; a model's config adds its own.

    Attributes:
        embedding_size: Width ``D`` of every field's vector.
        hidden: Widths of the tower.
        dropout: Share of hidden units zeroed in training.
        batch_norm: Normalise before each activation of the tower.
    """

    embedding_size: int = Field(16, ge=1)
    hidden: tuple[PositiveInt, ...] = Field((400, 400, 400), min_length=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    batch_norm: bool = False


class OptionalTowerConfig(TowerConfig):
    """Settings of a model that can do without its tower.

    Attributes:
        hidden: Widths of the tower; empty for the model without it.
    """

    hidden: tuple[PositiveInt, ...] = (400, 400, 400)


def make_tower(in_features: int, config: TowerConfig, hidden: tuple[int, ...] | None = None) -> MLP:
    """Return the hidden layers that ``config`` describes, of other widths where ``hidden`` gives them.

    Example:
        >>> make_tower(8, TowerConfig(hidden=(16, 4))).out_features
        4
    """
    widths = config.hidden if hidden is None else hidden
    return MLP(in_features, widths, dropout=config.dropout, batch_norm=config.batch_norm)
