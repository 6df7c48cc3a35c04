"""The serving form of MCNet: its map as a table of knots, read in constant time without a network.

The axis is cut at the bin edges and at the two ends of the scores that were seen; each cell has the same number of
evenly spaced knots. Between knots the value is a straight line **on the scale of the network** (log-odds), so that
small probabilities keep their relative precision. In any language::

    u = log(s / (1 - s))                          # s clipped to [1e-7, 1 - 1e-7]; on the "prob" axis u = s
    cell = count(edges <= u)
    x = clip((u - left[cell]) * scale[cell], 0, P - 1);  i = min(floor(x), P - 2)
    v = values[curve, cell, i];  z = v + (x - i) * (values[curve, cell, i + 1] - v)
    p = 1 / (1 + exp(-z))                         # on the "prob" axis p = z clipped to [1e-6, 1 - 1e-6]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike

from palate.calibrate.cell_index import CellIndex
from palate.calibrate.context import ContextVocabulary
from palate.calibrate.contract import FloatArray
from palate.calibrate.logits import EPSILON, logit
from palate.calibrate.mcnet import PROB_EPSILON, Axis, MCNet, MCNetModule
from palate.calibrate.observations import IntArray, check_scores
from palate.errors import DataError, SavedFolderError
from palate.saving import load_folder, save_folder, write_json

__all__ = ["CalibrationTable", "tabulate"]

_FORMAT = 1
_PARTS = ("edges", "left", "scale", "values")
_MOST_KNOTS = 20_000_000
_BLOCK = 16_384  # scores per pass: all scratch arrays stay in the cache


@dataclass(frozen=True, eq=False)
class CalibrationTable:
    """A tabulated calibration map, one curve per combination of context values.

    Attributes:
        axis: ``logit`` or ``prob``.
        edges: Cuts of the axis, ``[C - 1]``.
        left: Start of each cell, ``[C]``.
        scale: Knots per unit of the axis in each cell, ``[C]``.
        values: Knots, ``[curves, C, P]``.
        context: The context values; the curve of ids ``(i_1, ..., i_F)`` is their mixed-radix number.
        max_error: Largest difference to the network at the middle of the knots, in probability.
    """

    axis: Axis
    edges: FloatArray
    left: FloatArray
    scale: FloatArray
    values: FloatArray
    context: ContextVocabulary
    max_error: float

    def predict(self, scores: ArrayLike, context: ArrayLike | None = None) -> FloatArray:
        """Return calibrated probabilities of scores in contexts given as tokens, float64 ``[N]``.

        Raises:
            DataError: If the scores are no probabilities, or the context is not of the fitted form.
        """
        if np.size(scores) == 0:
            return np.zeros(0)
        column = check_scores(scores)
        return self.lookup(column, self.curve(self.context.encode(context, len(column))))

    @property
    def strides(self) -> IntArray:
        """How many curves one step of each field's id is, int64 ``[F]``."""
        sizes = self.context.sizes
        return np.array([int(np.prod(sizes[place + 1 :])) for place in range(len(sizes))], dtype=np.int64)

    def curve(self, ids: IntArray) -> IntArray:
        """Return the curve of context ids ``[N, F]``, int64 ``[N]``."""
        return np.asarray(ids @ self.strides)

    def lookup(self, scores: FloatArray, curve: IntArray) -> FloatArray:
        """Return probabilities of checked scores on known curves: the fast path of a service.

        Shapes:
            scores: float ``[N]`` in [0, 1]; curve: int64 ``[N]`` -> float64 ``[N]``.
        """
        out = np.empty(len(scores))
        flat, (_, cells, points) = self.values.ravel(), self.values.shape
        ends = np.array([EPSILON, 1.0 - EPSILON])
        low, high = logit(ends) if self.axis == "logit" else ends
        for start in range(0, len(scores), _BLOCK):
            part = slice(start, start + _BLOCK)
            u = np.asarray(scores[part], dtype=np.float64)
            if self.axis == "logit":
                with np.errstate(divide="ignore"):
                    u = np.log(u / (1.0 - u))
            u = np.clip(u, low, high)
            cell = self._cells.of(u)
            x = (u - self.left[cell]) * self.scale[cell]
            np.clip(x, 0.0, points - 1, out=x)
            knot = np.minimum(x.astype(np.int64), points - 2)
            x -= knot
            knot += (curve[part] * cells + cell) * points
            value = flat[knot]
            knot += 1
            value += x * (flat[knot] - value)
            if self.axis == "logit":
                np.negative(value, out=value)
                np.exp(value, out=value)
                value += 1.0
                np.divide(1.0, value, out=value)
            else:
                np.clip(value, PROB_EPSILON, 1.0 - PROB_EPSILON, out=value)
            out[part] = value
        return out

    @cached_property
    def _cells(self) -> CellIndex:
        ends = np.array([EPSILON, 1.0 - EPSILON])
        low, high = logit(ends) if self.axis == "logit" else ends
        return CellIndex.build(self.edges, float(low), float(high))

    def to_document(self) -> dict[str, Any]:
        """Return the whole table as plain JSON types; the head of this file says how to read it."""
        return {
            "kind": "palate-calibration-table",
            "format": _FORMAT,
            "axis": self.axis,
            "edges": self.edges.tolist(),
            "left": self.left.tolist(),
            "scale": self.scale.tolist(),
            "values": self.values.tolist(),
            "context": self.context.to_document(),
            "max_error": self.max_error,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild a table from :meth:`to_document`.

        Raises:
            SavedFolderError: If the document is not of that form.
        """
        try:
            if document["kind"] != "palate-calibration-table" or int(document["format"]) > _FORMAT:
                raise ValueError(f"kind {document['kind']!r}, format {document['format']!r}")
            parts = {name: np.asarray(document[name], dtype=np.float64) for name in _PARTS}
            table = cls(
                axis="prob" if document["axis"] == "prob" else "logit",
                context=ContextVocabulary.from_document(document["context"]),
                max_error=float(document["max_error"]),
                **parts,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SavedFolderError(f"This is not a calibration table that Palate can read: {error}.") from None
        table._check()
        return table

    def save_json(self, path: str | Path) -> None:
        """Write the table as one JSON file, atomically."""
        write_json(path, self.to_document())

    def save(self, path: str | Path) -> Path:
        """Write the table as a folder with its knots as safetensors, atomically."""
        document = {key: value for key, value in self.to_document().items() if key not in _PARTS}
        arrays = {name: getattr(self, name) for name in _PARTS}
        return save_folder(
            path, kind="calibration-table", name="mcnet", documents={"table": document}, arrays={"knots": arrays}
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Open a folder of :meth:`save`.

        Raises:
            SavedFolderError: If the folder is missing, incomplete or altered.
        """
        folder = load_folder(path, kind="calibration-table")
        arrays = folder.arrays("knots")
        return cls.from_document({**folder.document("table"), **arrays})

    def _check(self) -> None:
        """Refuse a table whose parts do not fit together, so that a look-up can never leave it."""
        cells = len(self.left)
        curves = int(np.prod(self.context.sizes)) if self.context.sizes else 1
        shapes_fit = (
            self.values.ndim == 3
            and self.values.shape[:2] == (curves, cells)
            and self.values.shape[2] >= 2
            and self.edges.shape == (cells - 1,)
            and self.scale.shape == (cells,)
        )
        finite = all(np.isfinite(part).all() for part in (self.edges, self.left, self.scale, self.values))
        if not shapes_fit or not finite or (np.diff(self.edges) < 0).any():
            raise SavedFolderError("The parts of this calibration table do not fit together: it was altered.")


def tabulate(calibrator: MCNet, *, points: int = 32, tolerance: float = 1e-4) -> CalibrationTable:
    """Turn a fitted MCNet into a table.

    The number of knots doubles until the largest error, measured at the middle of the knots, is below
    ``tolerance``.

    Args:
        calibrator: A fitted MCNet.
        points: Knots per cell to begin with, at least 2.
        tolerance: Largest error in probability.

    Raises:
        NotFittedError: If the calibrator is not fitted.
        DataError: If the context fields have so many combinations that the table would not fit into memory.
    """
    module = calibrator.module
    assert isinstance(module, MCNetModule)
    vocabulary = calibrator.context_vocabulary
    curves = math.prod(vocabulary.sizes)
    monotone = module.monotone
    bounds = torch.tensor([EPSILON, 1.0 - EPSILON], dtype=torch.float64)
    first, last = module.position(bounds).tolist()
    edges = np.unique([edge for edge in monotone.get_buffer("limits").tolist() if first < edge < last])
    left, right = np.concatenate([[first], edges]), np.concatenate([edges, [last]])
    while True:
        knots = curves * len(left) * points
        if knots > _MOST_KNOTS:
            raise DataError(
                f"The table would need {knots:,} knots for {curves:,} combinations of context values.",
                remedy="Fit with fewer fields or a larger min_count, or export the network instead.",
            )
        fractions = np.arange(2 * points - 1) / (2 * points - 2)
        contexts = np.stack(np.unravel_index(np.arange(curves), vocabulary.sizes or (1,)), axis=1)
        fine = _evaluate(module, left, right, fractions, torch.tensor(contexts[:, : len(vocabulary.sizes)]))
        values, middle = fine[:, :, ::2], (fine[:, :, :-1:2] + fine[:, :, 2::2]) / 2.0
        error = float(np.abs(_link(module, middle) - _link(module, fine[:, :, 1::2])).max())
        if error < tolerance or points >= 4096:
            break
        points *= 2
    scale = (points - 1) / np.maximum(right - left, 1e-300)
    return CalibrationTable(module.axis, edges, left, scale, np.ascontiguousarray(values), vocabulary, error)


@torch.no_grad()
def _evaluate(
    module: MCNetModule, left: FloatArray, right: FloatArray, fractions: FloatArray, contexts: torch.Tensor
) -> FloatArray:
    """Return the network's values in every cell, each seen from inside that cell, ``[curves, cells, fractions]``."""
    monotone, cells = module.monotone, len(left)
    bins = monotone.bin_of(torch.tensor((left + right) / 2.0)).repeat_interleave(len(fractions))
    position = torch.tensor((left[:, None] + (right - left)[:, None] * fractions).ravel())
    values = np.empty((len(contexts), len(position)))
    for row, ids in enumerate(contexts):
        values[row] = monotone.value(position, bins, ids.expand(len(position), -1)).numpy()
    return values.reshape(len(contexts), cells, len(fractions))


def _link(module: MCNetModule, values: FloatArray) -> FloatArray:
    return np.asarray(module.link(torch.tensor(values)).numpy())
