"""What one new item costs on the device, and what the device must keep: formulas, so that tables need no machine."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["StepCost", "gru_cost", "sasrec_cost", "self_correction_cost"]


class StepCost(NamedTuple):
    """Cost of one new item, without the item table and without scoring candidates.

    Attributes:
        parameters: Weights of the recurrent part.
        flops: Floating-point operations, two per multiply-add; norms and activations are left out.
        state: Numbers that are carried from item to item.
    """

    parameters: int
    flops: int
    state: int


def self_correction_cost(size: int = 64, num_heads: int = 4, mini_batch_size: int = 10) -> StepCost:
    """Return the cost of CoCorrRec's device part; nothing depends on the length of the history.

    Equation (d = D / h):
        parameters = 4 D^2 + h d^2 + 3 h d + D h + h + m + 4 D
        flops = 8 D^2 + 10 D d + 2 D h;  state = 2 h d^2 + 2 h d

    Example:
        >>> self_correction_cost()
        StepCost(parameters=18126, flops=43520, state=2176)
    """
    width = size // num_heads
    inner = num_heads * width * width + 3 * num_heads * width
    parameters = 4 * size * size + inner + size * num_heads + num_heads + mini_batch_size + 4 * size
    flops = 8 * size * size + 10 * size * width + 2 * size * num_heads
    return StepCost(parameters, flops, 2 * num_heads * width * (width + 1))


def gru_cost(size: int = 64) -> StepCost:
    """Return the cost of a gated recurrent layer.

    Equation:
        parameters = 6 D^2 + 6 D;  flops = 12 D^2 + 10 D;  state = D

    Example:
        >>> gru_cost()
        StepCost(parameters=24960, flops=49792, state=64)
    """
    return StepCost(6 * size * size + 6 * size, 12 * size * size + 10 * size, size)


def sasrec_cost(size: int = 64, length: int = 10, hidden_factor: int = 4, *, cached: bool = True) -> StepCost:
    """Return the cost of one self-attention block when the item at place ``length`` arrives.

    Equation (hidden layer f D wide):
        parameters = (4 + 2 f) D^2 + (9 + f) D + L D positions
        flops with a cache of keys and values = (8 + 4 f) D^2 + 4 L D;  state = 2 L D
        flops without = L (8 + 4 f) D^2 + 2 L (L + 1) D;  state = L item numbers

    Args:
        size: Width ``D``.
        length: Items ``L`` in the history, the new one included.
        hidden_factor: ``f``.
        cached: Keep keys and values, or compute the whole history anew.

    Example:
        >>> sasrec_cost().flops, sasrec_cost(cached=False).flops
        (100864, 997120)
    """
    dense = (8 + 4 * hidden_factor) * size * size
    parameters = (4 + 2 * hidden_factor) * size * size + (9 + hidden_factor) * size + length * size
    if cached:
        return StepCost(parameters, dense + 4 * length * size, 2 * length * size)
    return StepCost(parameters, length * dense + 2 * length * (length + 1) * size, length)
