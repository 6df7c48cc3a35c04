"""A ranker outside Python: one exported program, and the same as an ONNX file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from palate.data.features import FeatureSpec, RankBatch
from palate.exporting import need, quiet_exporter
from palate.rank.contract import Ranker

__all__ = ["TensorRanker", "export_onnx", "export_program", "tensors_of"]

OUTPUT = "logits"


class TensorRanker(nn.Module):
    """A ranker that takes plain tensors by name instead of a batch.

    The inputs are those of :func:`tensors_of`; the output is the logits. The ranker is put in evaluation mode.

    Args:
        model: The ranker.

    Shapes:
        forward: ``ids`` int64 ``[B, F_categorical]``, ``numeric`` float32 ``[B, F_numeric]``, one int64 ``[B, L]`` per
            sequence field and ``vectors`` int64 ``[B, F_vector]``, as far as the spec has them -> float32 ``[B]``.

    Example:
        >>> from palate.rank.lr import LR, LRConfig
        >>> model = TensorRanker(LR(FeatureSpec.from_sizes(user=10, item=20), LRConfig()))
        >>> model({"ids": torch.tensor([[1, 11]])}).shape
        torch.Size([1])
    """

    def __init__(self, model: Ranker) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits ``[B]``."""
        sequences = tuple(inputs[name] for name in _sequence_names(self.model.spec))
        batch = RankBatch(
            ids=inputs["ids"], numeric=inputs.get("numeric"), sequences=sequences, vectors=inputs.get("vectors")
        )
        logits: Tensor = self.model(batch)
        return logits


def tensors_of(batch: RankBatch, spec: FeatureSpec) -> dict[str, Tensor]:
    """Return the inputs of an exported ranker: ``ids``, ``numeric``, ``sequence.NAME`` and ``vectors``.

    Example:
        >>> list(tensors_of(RankBatch(ids=torch.tensor([[1, 11]])), FeatureSpec.from_sizes(user=10, item=20)))
        ['ids']
    """
    named = {"ids": batch.ids, "numeric": batch.numeric, "vectors": batch.vectors}
    found = {name: tensor for name, tensor in named.items() if tensor is not None}
    return found | dict(zip(_sequence_names(spec), batch.sequences, strict=True))


def export_program(model: Ranker) -> torch.export.ExportedProgram:
    """Return the ranker as one graph for any number of rows.

    The program takes the dictionary of :func:`tensors_of` and computes what the model computes in evaluation mode;
    the mode of ``model`` is left as it was.
    """
    inputs = tensors_of(_example(model.spec), model.spec)
    rows = torch.export.Dim("rows", min=1)
    with _evaluating(model):
        return torch.export.export(
            TensorRanker(model), (inputs,), dynamic_shapes=({name: {0: rows} for name in inputs},)
        )


def export_onnx(model: Ranker, path: str | Path) -> Path:
    """Write the ranker as an ONNX file with the inputs of :func:`tensors_of` and the output ``logits``.

    Raises:
        MissingExtraError: If ``onnx`` or ``onnxscript`` is not installed.
    """
    need(("onnx", "onnxscript"), "device", "Writing an ONNX file")
    inputs = tensors_of(_example(model.spec), model.spec)
    with _evaluating(model), quiet_exporter():
        program = torch.onnx.export(
            export_program(model), (inputs,), dynamo=True, input_names=list(inputs), output_names=[OUTPUT]
        )
    assert program is not None
    target = Path(path)
    scratch = target.with_name(f".{target.name}.new")
    program.save(str(scratch))
    os.replace(scratch, target)
    return target


def _sequence_names(spec: FeatureSpec) -> list[str]:
    return [f"sequence.{f.name}" for f in spec.of_kind("sequence")]


def _example(spec: FeatureSpec, rows: int = 2) -> RankBatch:
    """Return rows of padding, of the shapes and types that the spec demands."""
    categorical, vectors = spec.of_kind("categorical"), spec.of_kind("vector")
    numeric = len(spec.of_kind("numeric"))
    return RankBatch(
        ids=torch.tensor([[f.offset for f in categorical]] * rows, dtype=torch.int64).view(rows, len(categorical)),
        numeric=torch.zeros(rows, numeric) if numeric else None,
        sequences=tuple(torch.full((rows, f.length), f.offset) for f in spec.of_kind("sequence")),
        vectors=torch.zeros(rows, len(vectors), dtype=torch.int64) if vectors else None,
    )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
