"""The signature of an exported step: names and shapes, the same for every runtime."""

from __future__ import annotations

__all__ = ["CORRECTED_STATE", "CORRECTION", "ITEM", "OUTPUTS", "STATE", "next_of", "state_shapes"]

ITEM = "item"
STATE = ("weight", "bias", "weight_sum", "bias_sum", "position")
CORRECTED_STATE = (*STATE, "keys", "updates")
CORRECTION = ("attention", "bias_correction", "attention_weight", "bias_weight")
OUTPUTS = ("user", "hidden")


def next_of(name: str) -> str:
    """Return the output that holds the new value of a state's part.

    Example:
        >>> next_of("weight")
        'next_weight'
    """
    return f"next_{name}"


def state_shapes(num_heads: int, mini_batch_size: int, width: int, *, corrected: bool) -> dict[str, tuple[int, ...]]:
    """Return the shape of each part of a state, for one user.

    Their sizes depend on the model alone, never on how many items were clicked: all are float32 but ``position``,
    which is int64.

    Example:
        >>> state_shapes(4, 10, 16, corrected=False)["weight"]
        (1, 4, 16, 16)
    """
    matrix, row = (1, num_heads, width, width), (1, num_heads, 1, width)
    shapes: dict[str, tuple[int, ...]] = {
        "weight": matrix,
        "bias": row,
        "weight_sum": matrix,
        "bias_sum": row,
        "position": (1,),
    }
    if corrected:
        shapes |= dict.fromkeys(("keys", "updates"), (1, num_heads, mini_batch_size, width))
    return shapes
