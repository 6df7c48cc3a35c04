from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from palate.rank.export import export_onnx, export_program, tensors_of
from palate.registry import find
from palate.testing.rankers import small_spec, small_table

MINE = ["qnn", "qnn-alpha", "qnn-alpha-dcnv2"]


def warm_model(name: str, **settings: Any) -> Any:
    factory: Any = find("ranker", name).factory
    spec = small_spec(every_kind=True)
    torch.manual_seed(0)
    model = factory(spec, factory.Config.sized("tiny", **settings), vectors={"picture": torch.randn(8, 5)})
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.Embedding):
                part.weight.mul_(3000)
    model.loss(small_table(spec))  # moves the running statistics
    return model


@pytest.mark.parametrize("name", MINE)
def test_program_equals_the_model_for_any_number_of_rows(name: str) -> None:
    model = warm_model(name)
    program = export_program(model).module()
    assert model.training, "exporting leaves the mode alone"
    model.eval()
    for rows in (1, 7, 64):
        batch = small_table(model.spec, rows=rows, seed=rows)
        torch.testing.assert_close(program(tensors_of(batch, model.spec)), model(batch))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("qnn-alpha", {"num_heads": 2, "num_layers": 2, "head_layout": "aligned", "batch_norm": False}),
        ("qnn-alpha-xdeepfm", {}),
    ],
)
def test_onnx_runtime_agrees(
    name: str, settings: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra palate[device]")
    pytest.importorskip("onnxscript", reason="needs the extra palate[device]")
    model = warm_model(name, **settings).eval()
    path = export_onnx(model, tmp_path / "model.onnx")
    assert capfd.readouterr().out == ""
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits"]
    for rows in (1, 33):
        batch = small_table(model.spec, rows=rows, seed=rows)
        inputs = {key: value.numpy() for key, value in tensors_of(batch, model.spec).items()}
        assert {each.name for each in session.get_inputs()} == set(inputs)
        (logits,) = session.run(None, inputs)
        torch.testing.assert_close(torch.from_numpy(logits), model(batch).detach(), rtol=1e-4, atol=1e-5)
