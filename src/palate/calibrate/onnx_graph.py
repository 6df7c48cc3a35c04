"""A few lines around the onnx package: a graph that grows one operation at a time."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from palate.errors import MissingExtraError

__all__ = ["FLOAT", "INT64", "OnnxGraph"]

FLOAT, INT64 = 1, 7  # element types of the ONNX standard
_OPSET, _IR_VERSION = 18, 10


class OnnxGraph:
    """Collects operations and constants; calling it adds an operation and returns the name of its result.

    Raises:
        MissingExtraError: If onnx is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("onnx") is None:
            raise MissingExtraError.needs("onnx", "device", "Writing ONNX")
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def __call__(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation and return the name of its output."""
        from onnx import helper

        name = f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def integers(self, *values: int) -> str:
        """Add a vector of integers, as axes and shapes need it."""
        return self.constant(list(values), np.int64)

    def save(self, path: str | Path, result: str, fields: int) -> Path:
        """Write the model: ``scores [B]`` and, with fields, ``context [B, F]`` -> ``probabilities [B]``."""
        import onnx
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [result], ["probabilities"]))
        inputs = [helper.make_tensor_value_info("scores", FLOAT, ["rows"])]
        if fields:
            inputs.append(helper.make_tensor_value_info("context", INT64, ["rows", fields]))
        outputs = [helper.make_tensor_value_info("probabilities", FLOAT, ["rows"])]
        graph = helper.make_graph(self._nodes, "calibration", inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="palate")
        model.ir_version = _IR_VERSION
        onnx.checker.check_model(model)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(model.SerializeToString())
        return target
