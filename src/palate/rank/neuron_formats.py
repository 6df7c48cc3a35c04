r"""The thirty neuron formats: every way the study combines an input with linear maps of itself.

``x`` is the layer's input of width ``d``; ``W`` are linear maps with bias; ``⊙`` is the Hadamard product and ``sq(x)``
is ``x ⊙ x``; ``σ`` is ReLU; ``[a ; b]`` concatenates; ``B(x, x)`` is a full bilinear map. Where a formula names ``W₁``
and ``W₂`` and the code has one ``W``, they are the upper and lower part of one matrix: one product instead of two, and
the fan-out of Xavier's initialisation counts both.

T1 to T25 are the study's formats; T26 to T30 are follow-ups. T26 with a sum over its rows, heads, a dropout on the
activated factor and the self-ensemble loss is QNN-alpha. To add a format, add a function here: the string beside it
is what listings show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from palate.errors import UnknownNameError

__all__ = ["NEURONS", "Affine", "Bilinear", "NeuronFormat", "Scale", "neuron", "neuron_format"]


@dataclass(frozen=True, slots=True)
class Affine:
    """Declares a linear map with bias from ``inputs * d`` to ``outputs * d`` numbers."""

    inputs: float = 1
    outputs: float = 1


@dataclass(frozen=True, slots=True)
class Bilinear:
    """Declares a full quadratic form, ``out_k = x^T M_k x + c_k``: ``d^3 + d`` parameters."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Declares a learned factor per coordinate, 1 at the start."""


Map = Affine | Bilinear | Scale
Formula = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class NeuronFormat:
    """One row of the table.

    Attributes:
        name: ``T1`` to ``T30``.
        formula: ``Q(x)``.
        apply: ``Q``: the input and its maps -> the output.
        maps: What maps it needs.
        degree: Degree of ``Q`` as a polynomial in ``x``, or ``None`` when a ReLU stands inside.
        even: Whether the width must be even.
    """

    name: str
    formula: str
    apply: Formula
    maps: tuple[Map, ...]
    degree: int | None
    even: bool

    @property
    def cubic(self) -> bool:
        """Whether its parameters grow with ``d^3``, so that it runs behind a reduction of the width."""
        return any(isinstance(each, Bilinear) for each in self.maps)


NEURONS: dict[str, NeuronFormat] = {}


def neuron_format(name: str) -> NeuronFormat:
    """Return a row of the table.

    Raises:
        UnknownNameError: If there is no such format.

    Example:
        >>> neuron_format("T9").formula
        'x ⊙ Wx + x'
    """
    try:
        return NEURONS[name]
    except KeyError:
        raise UnknownNameError.among("neuron format", name, NEURONS) from None


def neuron(formula: str, *maps: Map, degree: int | None = 2, even: bool = False) -> Callable[[Formula], Formula]:
    """Return a decorator that enters a function as a row of the table, under its own name in capitals."""

    def add(apply: Formula) -> Formula:
        name = apply.__name__.upper()
        apply.__doc__ = f"Return {formula}."
        NEURONS[name] = NeuronFormat(name, formula, apply, maps, degree, even)
        return apply

    return add


# --- what the formulas are made of ------------------------------------------------------------------------------------

M = Callable[[Tensor], Tensor]
relu = torch.relu


def sq(x: Tensor) -> Tensor:
    """Return ``x ⊙ x``."""
    return x * x


def cat(*parts: Tensor) -> Tensor:
    """Return ``[a ; b ; ...]``."""
    return torch.cat(parts, dim=-1)


def cut(h: Tensor, parts: int = 2) -> tuple[Tensor, ...]:
    """Return the equal parts of ``h`` along its features."""
    return torch.chunk(h, parts, dim=-1)


# --- products of two views of the input -------------------------------------------------------------------------------


@neuron("B(x, x) + Wx", Bilinear(), Affine())
def t1(x: Tensor, B: M, W: M) -> Tensor:
    return B(x) + W(x)


@neuron("B(x, x)", Bilinear())
def t2(x: Tensor, B: M) -> Tensor:
    return B(x)


@neuron("W sq(x)", Affine())
def t3(x: Tensor, W: M) -> Tensor:
    return W(sq(x))


@neuron("sq(Wx)", Affine())
def t4(x: Tensor, W: M) -> Tensor:
    return sq(W(x))


@neuron("W₁x ⊙ W₂x", Affine(1, 2))
def t5(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return h1 * h2


@neuron("B(x, x) + W sq(x)", Bilinear(), Affine())
def t6(x: Tensor, B: M, W: M) -> Tensor:
    return B(x) + W(sq(x))


@neuron("W₁x ⊙ W₂x + W₃ sq(x)", Affine(1, 2), Affine())
def t7(x: Tensor, W: M, W3: M) -> Tensor:
    h1, h2 = cut(W(x))
    return h1 * h2 + W3(sq(x))


@neuron("W₁x ⊙ W₂x + W₃x", Affine(1, 3))
def t8(x: Tensor, W: M) -> Tensor:
    h1, h2, h3 = cut(W(x), 3)
    return h1 * h2 + h3


# --- the input itself as one factor -----------------------------------------------------------------------------------


@neuron("x ⊙ Wx + x", Affine())
def t9(x: Tensor, W: M) -> Tensor:
    return x * W(x) + x


@neuron("x ⊙ W₁x + W₂x", Affine(1, 2))
def t10(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return x * h1 + h2


# --- halves of different degree ---------------------------------------------------------------------------------------


@neuron("[h₁ ; sq(h₂)], h = Wx", Affine())
def t11(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return cat(h1, sq(h2))


@neuron("[h₁ ⊙ h₂ ; W₂ sq(x)], h = W₁x, W₂ to d/2", Affine(), Affine(1, 0.5), even=True)
def t12(x: Tensor, W1: M, W2: M) -> Tensor:
    h1, h2 = cut(W1(x))
    return cat(h1 * h2, W2(sq(x)))


@neuron("[h₁ ⊙ h₂ ; h₃], h = Wx, W to 3d/2", Affine(1, 1.5), even=True)
def t13(x: Tensor, W: M) -> Tensor:
    h1, h2, h3 = cut(W(x), 3)
    return cat(h1 * h2, h3)


@neuron("[h₁ ⊙ h₂ ; h₂], h = Wx", Affine(), even=True)
def t14(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return cat(h1 * h2, h2)


@neuron("[sq(h) ; h], h = Wx, W to d/2", Affine(1, 0.5), even=True)
def t15(x: Tensor, W: M) -> Tensor:
    h = W(x)
    return cat(sq(h), h)


# --- relatives of T9 --------------------------------------------------------------------------------------------------


@neuron("x ⊙ (W₁x ⊙ W₂x) + x", Affine(1, 2), degree=3)
def t16(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return x * (h1 * h2) + x


@neuron("x ⊙ W₁x + W₂x + x", Affine(1, 2))
def t17(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return x * h1 + h2 + x


@neuron("W₂ [x ⊙ W₁x ; x]", Affine(), Affine(2, 1))
def t18(x: Tensor, W1: M, W2: M) -> Tensor:
    return W2(cat(x * W1(x), x))


@neuron("x ⊙ σ(Wx) + x", Affine(), degree=None)
def t19(x: Tensor, W: M) -> Tensor:
    return x * relu(W(x)) + x


@neuron("x ⊙ h + h + x, h = Wx", Affine())
def t20(x: Tensor, W: M) -> Tensor:
    h = W(x)
    return x * h + h + x


@neuron("sq(x ⊙ Wx) + x", Affine(), degree=4)
def t21(x: Tensor, W: M) -> Tensor:
    return sq(x * W(x)) + x


@neuron("x ⊙ Wx + a ⊙ x, a learned", Affine(), Scale())
def t22(x: Tensor, W: M, a: M) -> Tensor:
    return x * W(x) + a(x)


@neuron("W₁x ⊙ W₂x + x", Affine(1, 2))
def t23(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return h1 * h2 + x


@neuron("W₁x ⊙ σ(W₂x) + x", Affine(1, 2), degree=None)
def t24(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return h1 * relu(h2) + x


@neuron("x ⊙ W₂ σ(W₁x) + x, W₁ to d/2", Affine(1, 0.5), Affine(0.5, 1), degree=None)
def t25(x: Tensor, W1: M, W2: M) -> Tensor:
    return x * W2(relu(W1(x))) + x


# --- two rows, averaged -----------------------------------------------------------------------------------------------


@neuron("mean(σ(W₁x) ⊙ x, σ(W₂x) ⊙ x) + x", Affine(1, 2), degree=None)
def t26(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return (relu(h1) + relu(h2)) / 2 * x + x


@neuron("mean(σ(W₁x) ⊙ sq(x), σ(W₂x) ⊙ sq(x)) + x", Affine(1, 2), degree=None)
def t27(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return (relu(h1) + relu(h2)) / 2 * sq(x) + x


@neuron("mean(sq(σ(W₁x)) ⊙ x, sq(σ(W₂x)) ⊙ x) + x", Affine(1, 2), degree=None)
def t28(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return (sq(relu(h1)) + sq(relu(h2))) / 2 * x + x


@neuron("mean(σ(W₁x) ⊙ x, sq(σ(W₂x)) ⊙ x) + x", Affine(1, 2), degree=None)
def t29(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return (relu(h1) + sq(relu(h2))) / 2 * x + x


@neuron("mean(σ(W₁x) ⊙ x, σ(W₂x) ⊙ sq(x)) + x", Affine(1, 2), degree=None)
def t30(x: Tensor, W: M) -> Tensor:
    h1, h2 = cut(W(x))
    return (relu(h1) * x + relu(h2) * sq(x)) / 2 + x
