"""The step as one graph, and as a file for ONNX Runtime or ExecuTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from palate.device.step_names import CORRECTED_STATE, CORRECTION, ITEM, OUTPUTS, STATE, next_of
from palate.exporting import need, quiet_exporter
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.device_step import CorrectedDeviceStep, CorrectedState, DeviceStep

__all__ = ["StepProgram"]


class StepProgram(nn.Module):
    """A click, corrected or not, that also tells what an upload would hold of it.

    Args:
        model: The model; its device part is taken as it is.
        corrected: Take the four inputs of a correction.

    Shapes:
        item int64 ``[1]``, the parts of the state and of the correction (:mod:`palate.device.step_names`) -> user
        ``[1, D]``, hidden ``[1, D]``, the parts of the new state.

    Example:
        >>> program = StepProgram(CoCorrRec(50).eval(), corrected=False)
        >>> user, hidden, *state = program(*program.example())
        >>> user.shape, len(state)
        (torch.Size([1, 32]), 5)
    """

    def __init__(self, model: CoCorrRec, *, corrected: bool) -> None:
        super().__init__()
        self.corrected = corrected
        self.step = CorrectedDeviceStep(model) if corrected else DeviceStep(model)
        start = CorrectedState.initial(model) if corrected else model.initial_state()
        self._state = tuple(part.detach().contiguous() for part in start)

    def forward(self, item: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
        """Return user, hidden and the new state."""
        hidden = self.step.scn.norm(self.step.item_embedding(item))
        user, *state = self.step(item, *parts)
        return (user, hidden, *state)

    def state(self) -> tuple[Tensor, ...]:
        """Return the state before the first click."""
        return self._state

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs of the right shapes."""
        inputs = (torch.ones(1, dtype=torch.int64), *self._state)
        if not self.corrected:
            return inputs
        layer = self.step.scn.linear
        shape = (1, layer.num_heads, layer.mini_batch_size)
        attention, bias = torch.zeros(*shape, layer.mini_batch_size), torch.zeros(*shape, layer.width)
        return (*inputs, attention, bias, torch.tensor(0.0), torch.tensor(0.0))

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of inputs and outputs."""
        state = CORRECTED_STATE if self.corrected else STATE
        inputs = [ITEM, *state, *(CORRECTION if self.corrected else ())]
        return inputs, [*OUTPUTS, *(next_of(name) for name in state)]

    def exported(self) -> torch.export.ExportedProgram:
        """Return the graph: the state passes through its signature, no buffer is changed."""
        with torch.no_grad(), quiet_exporter():
            return torch.export.export(self.eval(), self.example())

    def save_onnx(self, path: Path) -> None:
        """Write the graph as an ONNX file (opset 18).

        Raises:
            MissingExtraError: If ``onnx`` or ``onnxscript`` is not installed.
        """
        need(("onnx", "onnxscript"), "device", "Writing an ONNX file")
        from onnxscript import optimizer

        inputs, outputs = self.names()
        program = self.exported()
        with quiet_exporter():
            graph = torch.onnx.export(
                program,
                self.example(),
                dynamo=True,
                optimize=False,
                opset_version=18,
                input_names=inputs,
                output_names=outputs,
            )
            assert graph is not None
            # Constants are folded while they are small: widening a whole matrix here would undo what makes it small.
            optimizer.optimize(graph.model, input_size_limit=128)
            _strip(graph.model)
            graph.save(str(path))

    def save_executorch(self, path: Path) -> None:
        """Write the graph as an ExecuTorch program for its portable kernels.

        Raises:
            MissingExtraError: If ``executorch`` is not installed.
        """
        with quiet_exporter():
            need(("executorch",), "executorch", "Writing an ExecuTorch program")
            from executorch.exir import to_edge

            path.write_bytes(to_edge(self.exported()).to_executorch().buffer)


def _strip(model: Any) -> None:
    """Remove what the exporter notes of its source: lines and paths of this machine, larger than the weights."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
