"""ONNX: the network and the table give in ONNX Runtime what they give here."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from palate.calibrate.export import export_network, export_table
from palate.calibrate.mcnet import MCNet, MCNetConfig
from palate.calibrate.tables import tabulate
from palate.errors import MissingExtraError, NotFittedError
from palate.reproduce.planted_calibration import PlantedConfig, PlantedWorld

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'palate[device]'")
TINY = MCNetConfig.sized("tiny", bins=7, epochs=2)
VARIANTS = [
    ({}, 0),
    ({}, 1),
    ({}, 3),
    ({"strict": True}, 0),
    ({"strict": True}, 2),
    ({"strict": True, "bins": 1}, 1),
    ({"axis": "prob"}, 1),
    ({"axis": "prob", "strict": True, "activation": "silu"}, 1),
    ({"context_use": "offset", "positive": "softplus"}, 1),
    ({"activation": "relu", "num_layers": 2}, 1),
    ({"activation": "softplus", "num_layers": 3, "positive": "softplus"}, 0),
]


@pytest.mark.parametrize(("settings", "fields"), VARIANTS)
def test_onnx_runtime_agrees(settings, fields, tmp_path):
    rows = PlantedWorld(PlantedConfig(values=6, concentration=5.0, seed=2)).draw(4000, 1)
    table_of = np.column_stack([rows.context, rows.context % 2, rows.context % 3])
    context = table_of[:, :fields] if fields else None
    fitted = MCNet(TINY.replace(**settings)).fit(rows.scores, rows.labels, context)
    rng = np.random.default_rng(3)
    scores = np.append(rng.random(1000), [0.0, 1.0]).astype(np.float32)
    asked = None if context is None else np.append(context[:1000], [[-5] * fields, [-5] * fields], axis=0)
    feed = {"scores": scores}
    if fields:
        feed["context"] = fitted.context_vocabulary.encode(asked)
    table = tabulate(fitted)
    paths = export_network(fitted, tmp_path / "network.onnx"), export_table(table, tmp_path / "table.onnx")
    expected = fitted.predict(scores, asked), table.predict(scores, asked)
    for path, want, tolerance in zip(paths, expected, (1e-5, 1e-5), strict=True):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert [entry.name for entry in session.get_inputs()] == list(feed)
        (found,) = session.run(["probabilities"], feed)
        assert found.dtype == np.float32
        assert np.abs(found - want).max() < tolerance
        single = {name: values[:1] for name, values in feed.items()}
        assert session.run(None, single)[0] == pytest.approx(found[:1], abs=1e-6)


def test_an_unfitted_calibrator_and_a_missing_package_say_so(tmp_path, monkeypatch):
    with pytest.raises(NotFittedError):
        export_network(MCNet(TINY), tmp_path / "x.onnx")
    rows = PlantedWorld(PlantedConfig(values=3, seed=2)).draw(500, 1)
    fitted = MCNet(TINY.replace(epochs=1)).fit(rows.scores, rows.labels)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"palate\[device\]"):
        export_network(fitted, tmp_path / "x.onnx")
