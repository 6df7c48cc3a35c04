"""ONNX files of MCNet: its network, or its table.

Both take ``scores`` float32 ``[B]`` and, where the calibrator has context fields, ``context`` int64 ``[B, F]`` (ids
of :class:`~palate.calibrate.context.ContextVocabulary`; 0 is an unseen value), and give ``probabilities`` float32
``[B]``. The graphs are written operation by operation, so that the file holds the method and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from palate.calibrate.derivative import PositiveDerivative
from palate.calibrate.logits import EPSILON
from palate.calibrate.mcnet import PROB_EPSILON, MCNet, MCNetModule
from palate.calibrate.monotone import RULE, MonotoneBins
from palate.calibrate.onnx_graph import FLOAT, INT64, OnnxGraph
from palate.calibrate.stacked import StackedLinear
from palate.calibrate.tables import CalibrationTable

__all__ = ["export_network", "export_table"]


def export_table(table: CalibrationTable, path: str | Path) -> Path:
    """Write the table as ONNX: find the cell, find the knot, draw the line.

    Raises:
        MissingExtraError: If onnx is not installed.
    """
    graph, (_, cells, points) = OnnxGraph(), table.values.shape
    position = _position(graph, table.axis)
    cell = _count_below(graph, position, table.edges)
    left, scale = (graph("Gather", graph.constant(part), cell) for part in (table.left, table.scale))
    x = graph("Mul", graph("Sub", position, left), scale)
    x = graph("Clip", x, graph.constant(0.0), graph.constant(points - 1.0))
    knot = graph("Min", graph("Floor", x), graph.constant(points - 2.0))
    place = cell
    if table.context.sizes:
        strides = graph.constant(table.strides, np.int64)
        curve = graph("ReduceSum", graph("Mul", "context", strides), graph.integers(1), keepdims=0)
        place = graph("Add", graph("Mul", curve, graph.constant(cells, np.int64)), cell)
    place = graph("Mul", place, graph.constant(points, np.int64))
    place = graph("Add", place, graph("Cast", knot, to=INT64))
    values = graph.constant(table.values.ravel())
    below = graph("Gather", values, place)
    above = graph("Gather", values, graph("Add", place, graph.constant(1, np.int64)))
    rise = graph("Mul", graph("Sub", x, knot), graph("Sub", above, below))
    value = graph("Add", below, rise)
    result = graph("Sigmoid", value) if table.axis == "logit" else _inside(graph, value)
    return graph.save(path, result, len(table.context.sizes))


def export_network(calibrator: MCNet, path: str | Path) -> Path:
    """Write the fitted network as ONNX: bin, context vector, quadrature, offset.

    Raises:
        NotFittedError: If the calibrator is not fitted.
        MissingExtraError: If onnx is not installed.
    """
    module = calibrator.module
    assert isinstance(module, MCNetModule)
    graph, monotone = OnnxGraph(), module.monotone
    fields = len(calibrator.context_vocabulary.sizes)
    position = _position(graph, module.axis)
    bins = _count_below(graph, position, monotone.edges)
    vectors = _vectors(graph, monotone, fields)
    start = _chain(graph, monotone, bins, vectors) if monotone.strict else _offset(graph, monotone, bins, vectors)
    value = graph("Add", start, _rise(graph, monotone, position, bins, vectors))
    if module.axis == "logit":
        return graph.save(path, graph("Sigmoid", value), fields)
    return graph.save(path, _inside(graph, value), fields)


def _inside(graph: OnnxGraph, value: str) -> str:
    return graph("Clip", value, graph.constant(PROB_EPSILON), graph.constant(1.0 - PROB_EPSILON))


def _position(graph: OnnxGraph, axis: Literal["logit", "prob"]) -> str:
    clipped = graph("Clip", "scores", graph.constant(EPSILON), graph.constant(1.0 - EPSILON))
    if axis == "prob":
        return clipped
    return graph("Sub", graph("Log", clipped), graph("Log", graph("Sub", graph.constant(1.0), clipped)))


def _count_below(graph: OnnxGraph, position: str, edges: torch.Tensor | np.ndarray) -> str:
    """Return how many edges lie at or below each position, which is its bin, int64 ``[B]``."""
    above = graph("GreaterOrEqual", graph("Unsqueeze", position, graph.integers(1)), graph.constant(edges))
    return graph("ReduceSum", graph("Cast", above, to=INT64), graph.integers(1), keepdims=0)


def _vectors(graph: OnnxGraph, monotone: MonotoneBins, fields: int) -> str:
    """Return the context vectors ``[B, E]``; an empty name without fields."""
    parts = []
    for place, table in enumerate(monotone.embedding.tables):
        average = monotone.embedding.shares(place).unsqueeze(0) @ table
        rows = graph.constant(torch.cat([average.reshape(1, -1), table]))
        parts.append(graph("Gather", rows, graph("Gather", "context", graph.constant(place, np.int64), axis=1)))
    return graph("Concat", *parts, axis=1) if fields else ""


def _stacked(graph: OnnxGraph, layer: StackedLinear, inputs: str, bins: str) -> str:
    """Return ``x W[k] + b[k]``, ``[B, M, out]``."""
    bias = graph("Unsqueeze", graph("Gather", graph.constant(layer.bias), bins), graph.integers(1))
    if not layer.weight.shape[1]:
        return bias
    return graph("Add", graph("MatMul", inputs, graph("Gather", graph.constant(layer.weight), bins)), bias)


def _slopes(graph: OnnxGraph, slope: PositiveDerivative, points: str, bins: str, vectors: str) -> str:
    """Return f1 at points ``[B, M]``."""
    centred = graph("Sub", points, graph.constant(slope.get_buffer("centre")))
    scaled = graph("Unsqueeze", graph("Div", centred, graph.constant(slope.get_buffer("scale"))), graph.integers(2))
    point = graph("Unsqueeze", graph("Gather", graph.constant(slope.point), bins), graph.integers(1))
    context = graph("Unsqueeze", vectors, graph.integers(1)) if vectors else ""
    hidden = graph("Add", graph("Mul", scaled, point), _stacked(graph, slope.context, context, bins))
    for layer in slope.hidden:
        assert isinstance(layer, StackedLinear)
        hidden = _stacked(graph, layer, _activated(graph, slope, hidden), bins)
    out = _stacked(graph, slope.output, _activated(graph, slope, hidden), bins)
    out = graph("Squeeze", out, graph.integers(2))
    if slope.positive == "softplus":
        return graph("Add", graph("Softplus", out), graph.constant(slope.floor))
    return graph("Add", graph("Elu", out), graph.constant(1.0 + slope.floor))


def _activated(graph: OnnxGraph, slope: PositiveDerivative, hidden: str) -> str:
    if slope.activation == "silu":
        return graph("Mul", hidden, graph("Sigmoid", hidden))
    return graph({"tanh": "Tanh", "softplus": "Softplus", "relu": "Relu"}[slope.activation], hidden)


def _rise(graph: OnnxGraph, monotone: MonotoneBins, position: str, bins: str, vectors: str) -> str:
    """Return ``INT_{a_k}^{u} f1_k dt``, ``[B]``: whole panels, the rational quadratic, the straight tails."""
    left, right = _ends(graph, monotone, bins)
    means, slopes = _areas(graph, monotone, bins, vectors)
    inside = graph("Min", graph("Max", position, left), right)
    width = graph("Div", graph("Sub", right, left), graph.constant(float(monotone.panels)))
    steps = graph("Div", graph("Sub", inside, left), width)
    panel = graph("Clip", graph("Floor", steps), graph.constant(0.0), graph.constant(monotone.panels - 1.0))
    at = graph("Unsqueeze", graph("Cast", panel, to=INT64), graph.integers(1))
    following = graph("Add", at, graph.constant(1, np.int64))
    mean, before, after = (
        graph("Squeeze", graph("GatherElements", table, place, axis=1), graph.integers(1))
        for table, place in ((means, at), (slopes, at), (slopes, following))
    )
    sums = graph("CumSum", means, graph.constant(1, np.int64))
    passed = graph("Squeeze", graph("GatherElements", sums, at, axis=1), graph.integers(1))
    passed = graph("Sub", passed, mean)
    part = graph("Clip", graph("Sub", steps, panel), graph.constant(0.0), graph.constant(1.0))
    within = _rational_quadratic(graph, part, mean, before, after)
    rise = graph("Mul", width, graph("Add", passed, within))
    ends = (graph("Gather", slopes, graph.constant(place, np.int64), axis=1) for place in (0, monotone.panels))
    outer = graph("Where", graph("Less", position, left), *ends)
    return graph("Add", rise, graph("Mul", graph("Sub", position, inside), outer))


def _rational_quadratic(graph: OnnxGraph, x: str, mean: str, left: str, right: str) -> str:
    mixed = graph("Mul", x, graph("Sub", graph.constant(1.0), x))
    above = graph("Add", graph("Mul", mean, graph("Mul", x, x)), graph("Mul", left, mixed))
    bend = graph("Sub", graph("Add", left, right), graph("Mul", graph.constant(2.0), mean))
    return graph("Div", graph("Mul", mean, above), graph("Add", mean, graph("Mul", bend, mixed)))


def _areas(graph: OnnxGraph, monotone: MonotoneBins, bins: str, vectors: str) -> tuple[str, str]:
    """Return the mean of f1 over each panel ``[B, P]`` and f1 at the panels' ends ``[B, P + 1]``."""
    limits = monotone.get_buffer("limits")
    points = limits[:-1, None] + (limits[1:] - limits[:-1])[:, None] * monotone.points
    at = graph("Gather", graph.constant(points), bins)
    slopes = _slopes(graph, monotone.slope, at, bins, vectors if monotone.context_use == "both" else "")
    knots = graph.integers(*range(0, monotone.panels * RULE + 1, RULE))
    return graph("MatMul", slopes, graph.constant(monotone.rule)), graph("Gather", slopes, knots, axis=1)


def _ends(graph: OnnxGraph, monotone: MonotoneBins, bins: str) -> tuple[str, str]:
    limits = graph.constant(monotone.get_buffer("limits"))
    return graph("Gather", limits, bins), graph("Gather", limits, graph("Add", bins, graph.constant(1, np.int64)))


def _offset(graph: OnnxGraph, monotone: MonotoneBins, bins: str, vectors: str) -> str:
    """Return ``f2_k(h)``, ``[B]``."""
    offset = monotone.offset
    bias = graph("Squeeze", graph("Gather", graph.constant(offset.bias), bins), graph.integers(1))
    if offset.hidden is None or offset.weight is None:
        return bias
    inputs = graph("Unsqueeze", vectors, graph.integers(1))
    hidden = graph("Squeeze", graph("Tanh", _stacked(graph, offset.hidden, inputs, bins)), graph.integers(1))
    weighted = graph("Mul", hidden, graph("Gather", graph.constant(offset.weight), bins))
    return graph("Add", bias, graph("ReduceSum", weighted, graph.integers(1), keepdims=0))


def _chain(graph: OnnxGraph, monotone: MonotoneBins, bins: str, vectors: str) -> str:
    """Return where each row's bin starts: the first offset plus the areas of the bins below it.

    Every bin's area is computed for every row (as ``B (K - 1)`` rows) and those at or above the row's bin are
    masked out.
    """
    first = _offset(graph, monotone, graph("Mul", bins, graph.constant(0, np.int64)), vectors)
    below = monotone.bins - 1
    if not below:
        return first
    column = graph("Unsqueeze", bins, graph.integers(1))
    zero = graph("Mul", column, graph.constant(0, np.int64))
    every = graph("Add", zero, graph.constant(np.arange(below), np.int64))  # [B, K - 1]
    flat = graph("Reshape", every, graph.integers(-1))
    rows = ""
    if vectors:
        width = monotone.embedding.width
        spread = graph("Expand", graph("Unsqueeze", vectors, graph.integers(1)), graph.integers(1, below, width))
        rows = graph("Reshape", spread, graph.integers(-1, width))
    means, _ = _areas(graph, monotone, flat, rows)
    left, right = _ends(graph, monotone, flat)
    areas = graph("Mul", graph("ReduceMean", means, graph.integers(1), keepdims=0), graph("Sub", right, left))
    passed = graph("Cast", graph("Less", every, column), to=FLOAT)
    reached = graph("Mul", graph("Reshape", areas, graph.integers(-1, below)), passed)
    return graph("Add", first, graph("ReduceSum", reached, graph.integers(1), keepdims=0))
