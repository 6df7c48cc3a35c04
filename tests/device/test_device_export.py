"""An export computes what the model computes: same lists, same states, in a process of its own that has no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from palate.device.device_model import DeviceModel
from palate.device.device_state import DeviceState
from palate.device.export import UnfaithfulExportError, export_device
from palate.device.step_program import StepProgram
from palate.errors import ConfigError
from palate.next_item_recommender import NextItemRecommender
from palate.sequence.cocorrrec import CoCorrRec

ITEMS, USERS = 300, 1000
EXECUTORCH = pytest.param("executorch", marks=pytest.mark.slow)

IN_A_FRESH_PROCESS = """
    import sys
    import numpy as np
    from palate.device.device_model import DeviceModel
    export, inputs, outputs = sys.argv[1:]
    model, given = DeviceModel.open(export), np.load(inputs)
    lists, scores = [], []
    for items, length in zip(given["items"], given["lengths"]):
        state = model.initial()
        for item in items[:length].tolist():
            state = model.after(state, item)
        ranked = model.rank(state, 10)
        lists.append([place.item - 1000 for place in ranked])
        scores.append([place.score for place in ranked])
    np.savez(outputs, lists=np.array(lists), scores=np.array(scores))
    print(" ".join(sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names))))
"""


def play_elsewhere(export: Path, folder: Path) -> tuple[dict[str, Any], set[str], torch.Tensor, torch.Tensor]:
    """Play a thousand histories of 0 to 9 clicks in a fresh process.

    Returns its lists and scores, the packages that it imported, and the histories.
    """
    rng, longest = np.random.default_rng(3), 9
    lengths = np.arange(USERS) % (longest + 1)
    items = rng.integers(1, ITEMS + 1, (USERS, longest)) * (np.arange(longest) < lengths[:, None])
    np.savez(folder / "given.npz", items=items, lengths=lengths)
    script = textwrap.dedent(IN_A_FRESH_PROCESS)
    words = [sys.executable, "-c", script, str(export), str(folder / "given.npz"), str(folder / "told.npz")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = dict(np.load(folder / "told.npz"))
    return told, set(done.stdout.split()), torch.tensor(items), torch.tensor(lengths)


def assert_the_models_own_lists(
    told: dict[str, Any], model: CoCorrRec, items: torch.Tensor, lengths: torch.Tensor
) -> None:
    """Same items in the same order; two may only stand the other way round where rounding cannot tell them apart."""
    model.lag = None
    expected = model.rank(items, lengths, 10, exclude=items)
    model.lag = 0
    np.testing.assert_allclose(told["scores"], expected.scores.numpy(), atol=2e-5, rtol=1e-5)
    rows = np.flatnonzero((told["lists"] != expected.items.numpy()).any(axis=1))
    assert len(rows) <= 2
    for row in rows:
        assert sorted(told["lists"][row]) == sorted(expected.items[row].tolist())


def test_onnx_runtime_gives_a_thousand_users_the_models_own_lists_without_torch(
    exported: Callable[..., Path], model: CoCorrRec, tmp_path: Path
) -> None:
    told, packages, items, lengths = play_elsewhere(exported(), tmp_path)
    assert_the_models_own_lists(told, model, items, lengths)
    allowed = {"palate", "numpy", "onnxruntime", "safetensors", "pydantic", "pydantic_core", "annotated_types"}
    allowed |= {"typing_extensions", "typing_inspection"}
    assert {name for name in packages if not name.startswith("_")} <= allowed


@pytest.mark.slow
def test_executorch_gives_a_thousand_users_the_models_own_lists(
    exported: Callable[..., Path], model: CoCorrRec, tmp_path: Path
) -> None:
    pytest.importorskip("executorch", reason="needs the extra palate[executorch]")
    told, packages, items, lengths = play_elsewhere(exported(to="executorch"), tmp_path)
    assert_the_models_own_lists(told, model, items, lengths)
    assert not packages & {"polars", "pyarrow", "onnxruntime", "sklearn"}


def played(opened: DeviceModel, items: list[int], cloud: Any = None) -> list[DeviceState]:
    """Return the state after each click, asking ``cloud`` as often as the export says."""
    state, states = opened.initial(), []
    for item in items:
        state = opened.after(state, item)
        states.append(state)
        if cloud is not None and state.seen % opened.manifest.sync_every == 0:
            state = state.corrected_by(cloud.request(state.upload(), state.seen))
    return states


@pytest.mark.parametrize("to", ["onnx", EXECUTORCH])
@pytest.mark.parametrize("corrected", [False, True])
def test_a_stream_of_clicks_equals_the_batch_at_every_length_to_50(
    exported: Callable[..., Path], model: CoCorrRec, make: Any, to: str, corrected: bool
) -> None:
    items = np.random.default_rng(5).integers(1, ITEMS + 1, 50)
    opened = DeviceModel.open(exported(to=to) if to == "executorch" else exported())
    states = played(opened, items.tolist(), make.cloud(model) if corrected else None)
    model.lag = 0 if corrected else None
    with torch.inference_mode():
        for count in range(1, 51):
            history, length = torch.tensor(items[None, :count]), torch.tensor([count])
            user, scores = model.state(history, length)[0].numpy(), model.score(history, length)[0].numpy()
            np.testing.assert_allclose(states[count - 1].user, user, atol=3e-5, rtol=1e-4)
            mine = opened.rows.scores(states[count - 1].user)
            np.testing.assert_allclose(mine[1:], scores[1:], atol=2e-4, rtol=1e-4)
    model.lag = 0


def test_a_correction_shows(export: Path, model: CoCorrRec, make: Any) -> None:
    opened, items = DeviceModel.open(export), np.random.default_rng(5).integers(1, ITEMS + 1, 12).tolist()
    plain, corrected = played(opened, items), played(opened, items, make.cloud(model))
    for count, (one, two) in enumerate(zip(plain, corrected, strict=True), start=1):
        assert (np.abs(one.user - two.user).max() > 1e-3) == (count > 5)
        for name in one.step:  # what is carried on is never corrected
            np.testing.assert_array_equal(one.step[name], two.step[name])


def test_a_click_moves_the_weights_by_the_inner_gradient(export: Path, model: CoCorrRec) -> None:
    """The first click, in float64 by hand: W_1 - W_0 = -tau_1 a_1 k_1^T G_1, and the user that follows from it."""
    opened, item, width = DeviceModel.open(export), 42, 8
    state = opened.after(opened.initial(), item)
    part = {name: value.double().numpy() for name, value in model.scn.state_dict().items()}

    def squared(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return gain * x / np.sqrt(np.mean(x * x) + 1e-6)

    def levelled(x: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return gain * (x - x.mean()) / np.sqrt(x.var() + 1e-6) + shift

    x = squared(model.item_embedding.weight[item].detach().double().numpy(), part["norm.gain"])
    np.testing.assert_allclose(state.recent[-1], x, atol=1e-6)
    query, key, value = (part[f"layer.{name}.weight"] @ x for name in ("query", "key", "value"))
    rates = 1.0 / (1.0 + np.exp(-(part["layer.rate.weight"] @ x + part["layer.rate.bias"]))) / width
    tau, outs = max(1.0 + part["layer.rate_shift"][0], 0.0), []
    for head in range(2):
        q, k, v = (vector[head * width : (head + 1) * width] for vector in (query, key, value))  # no rotation yet
        weight, bias = part["layer.inner_weight"][head], part["layer.inner_bias"][head, 0]
        gain, shift = part["layer.inner_gain"][head, 0], part["layer.inner_shift"][head, 0]
        z = k @ weight + bias
        normal = levelled(z, 1.0, 0.0)
        u = (gain * normal + shift - (v - k)) * gain
        gradient = (u - u.mean() - normal * (u * normal).mean()) / np.sqrt(z.var() + 1e-6)
        moved = rates[head] * np.outer(k, gradient)
        assert np.abs(moved).max() > 1e-3
        np.testing.assert_allclose(state.step["weight_sum"][0, head], moved, atol=1e-5)
        np.testing.assert_allclose(state.step["bias_sum"][0, head, 0], rates[head] * gradient, atol=1e-5)
        inner = q @ (weight - tau * moved) + bias - tau * rates[head] * gradient
        outs.append(q + levelled(inner, gain, shift))
    joined = levelled(np.concatenate(outs), part["layer.norm.weight"], part["layer.norm.bias"])
    user = squared(part["layer.output.weight"] @ joined, part["final_norm.gain"])
    np.testing.assert_allclose(state.user, user, atol=2e-5)


def test_after_a_mini_batch_the_sums_have_moved_into_the_weights(export: Path, model: CoCorrRec) -> None:
    opened = DeviceModel.open(export)
    before, after = (state.step for state in played(opened, [3, 1, 4, 1, 5])[3:])
    assert (before["position"][0], after["position"][0]) == (4, 0)
    np.testing.assert_array_equal(before["weight"], opened.initial().step["weight"])
    assert not after["weight_sum"].any()
    assert not after["bias_sum"].any()
    tau = 1 / 5 + float(model.scn.layer.rate_shift[4].detach())
    assert tau > 0
    assert (np.linalg.norm(after["weight"], axis=(2, 3)) < 10).all()  # the bound is not reached here
    fifth = (after["weight"] - before["weight"]) / -tau - before["weight_sum"]  # a_5 k_5^T G_5, which has rank one
    for head in range(2):
        singular = np.linalg.svd(fifth[0, head], compute_uv=False)
        assert singular[0] > 1e-3
        assert singular[1] < 1e-4 * max(1.0, singular[0])


def test_the_state_has_a_fixed_size(export: Path) -> None:
    opened = DeviceModel.open(export)
    states = played(opened, np.random.default_rng(1).integers(1, ITEMS + 1, 120).tolist())
    assert len({tuple((name, a.shape, a.dtype) for name, a in state.to_arrays().items()) for state in states}) == 1
    h, m, d = 2, 5, 8
    assert states[0].nbytes == 4 * (2 * h * d * d + 2 * h * d + 2 * h * m * d) + 8


@pytest.mark.parametrize("steps", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_long_streams_stay_finite_and_bounded(export: Path, steps: int) -> None:
    opened = DeviceModel.open(export)
    state, largest = opened.initial(), 0.0
    for item in np.random.default_rng(2).integers(1, ITEMS + 1, steps).tolist():
        state = opened.after(state, item)  # raises when a number is not finite
        if state.seen % 50 == 0:
            largest = max(largest, float(np.linalg.norm(state.step["weight"][0], ord=2, axis=(1, 2)).max()))
    assert state.seen == steps
    assert 0 < largest <= 10.001


@pytest.mark.parametrize(
    ("precision", "to", "agree", "angle"),
    [
        ("int8", "onnx", 0.9, 2e-3),
        pytest.param("float16", "onnx", 0.99, 1e-4, marks=pytest.mark.slow),
        pytest.param("float16", "executorch", 0.99, 1e-4, marks=pytest.mark.slow),
        pytest.param("int8", "executorch", 0.9, 2e-3, marks=pytest.mark.slow),
    ],
)
def test_small_weights_keep_the_lists_and_leave_the_state_alone(
    exported: Callable[..., Path], precision: str, to: str, agree: float, angle: float
) -> None:
    plain = DeviceModel.open(exported())
    small = DeviceModel.open(exported(precision=precision, to=to))
    shares, angles = [], []
    for seed in range(15):
        items = np.random.default_rng(seed).integers(1, ITEMS + 1, 12).tolist()
        mine, theirs = played(small, items)[-1], played(plain, items)[-1]
        assert {array.dtype.name for array in mine.step.values()} == {"float32", "int64"}
        lists = [{place.item for place in opened.rank(state)} for opened, state in ((small, mine), (plain, theirs))]
        shares.append(len(lists[0] & lists[1]) / 10)
        angles.append(1 - mine.user @ theirs.user / np.linalg.norm(mine.user) / np.linalg.norm(theirs.user))
    assert np.mean(shares) >= agree
    assert np.mean(angles) <= angle


@pytest.mark.parametrize(
    ("precision", "kind", "share"),
    [
        pytest.param("float16", "FLOAT16", 0.52, marks=pytest.mark.slow),
        ("int8", "INT8", 0.33),  # a quarter, and a scale for each row of 16
    ],
)
def test_small_weights_are_small_in_the_file(
    exported: Callable[..., Path], precision: str, kind: str, share: float
) -> None:
    import onnx

    plain, small = exported(), exported(precision=precision)
    wanted = onnx.TensorProto.DataType.Value(kind)
    graph = onnx.load(small / "step.onnx").graph
    numbers = sum(int(np.prod(entry.dims)) for entry in graph.initializer if entry.data_type == wanted)
    assert numbers == (ITEMS + 1) * 16 + (4 * 16 * 16 if precision == "int8" else 0)
    sizes = [(folder / "items.safetensors").stat().st_size for folder in (plain, small)]
    assert sizes[1] < share * sizes[0]


def test_the_signature_carries_the_state_and_nothing_is_kept_between_calls(export: Path, model: CoCorrRec) -> None:
    signature = StepProgram(model, corrected=True).exported().graph_signature
    assert not signature.buffers_to_mutate
    assert (len(signature.user_inputs), len(signature.user_outputs)) == (12, 9)
    opened = DeviceModel.open(export)
    first = opened.after(opened.initial(), 9).to_arrays()
    opened.after(opened.after(opened.initial(), 10), 11)
    for name, array in opened.after(opened.initial(), 9).to_arrays().items():
        np.testing.assert_array_equal(array, first[name])


@pytest.mark.parametrize("to", ["onnx", EXECUTORCH])
def test_an_export_holds_no_path_of_the_machine_that_made_it(exported: Callable[..., Path], to: str) -> None:
    for file in exported(to=to).iterdir() if to == "executorch" else exported().iterdir():
        content = file.read_bytes()
        assert b".py" not in content, file.name
        assert str(Path.cwd()).encode() not in content, file.name


@pytest.mark.parametrize("corrected", [False, True])
def test_the_manifest_counts_the_work_of_a_click(export: Path, model: CoCorrRec, corrected: bool) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    document = json.loads((export / "device.json").read_text())
    program = StepProgram(model, corrected=corrected)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        program(*program.example())
    # The counter sees products of matrices only; the two sums of outer updates, 2 D d, are not all among them.
    expected = document["flops_per_click"] - (0 if corrected else 4 * 16 * 5)
    assert 0 <= expected - counter.get_total_flops() <= 4 * 16 * 8
    assert document["flops_per_ranking"] == 2 * ITEMS * 16
    assert document["parameters"] == sum(parameter.numel() for parameter in model.scn.parameters())


def test_only_what_can_run_on_a_device_is_exported(make: Any, tmp_path: Path) -> None:
    import palate
    from palate.testing.recommenders import small_log

    with pytest.raises(ConfigError, match=r'"popularity" has no step.*cocorrrec'):
        export_device(palate.fit(small_log(), "popularity"), tmp_path / "x")
    with pytest.raises(ConfigError, match=r"paper.*causal"):
        export_device(make.recommender(make.model(mode="paper")), tmp_path / "x")
    with pytest.raises(ConfigError, match="does not learn in service"):
        export_device(make.recommender(make.model(update_in_service=False)), tmp_path / "x")
    ranker = palate.fit(small_log(), "lr", training={"epochs": 1})
    with pytest.raises(ConfigError, match=r"A ranker has no step.*export_onnx"):
        export_device(ranker, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_an_export_replaces_an_export_and_nothing_else(
    recommender: NextItemRecommender, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recommender.save(tmp_path / "run")
    with pytest.raises(ConfigError, match="not a device export"):
        export_device(recommender, run)
    assert (run / "model.safetensors").is_file()
    note = tmp_path / "note"
    note.write_text("mine")
    with pytest.raises(ConfigError, match="not a device export"):
        export_device(recommender, note)
    content = (export / "step.onnx").read_bytes()
    monkeypatch.setattr(StepProgram, "save_onnx", lambda self, path: path.write_bytes(content))
    assert export_device(recommender, tmp_path / "x") == export_device(recommender, tmp_path / "x")


def test_a_step_that_is_not_the_models_is_never_handed_out(
    export: Path, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (export / "step.onnx").read_bytes()
    monkeypatch.setattr(StepProgram, "save_onnx", lambda self, path: path.write_bytes(content))
    with pytest.raises(UnfaithfulExportError, match="After click 1 the exported step differs"):
        export_device(make.recommender(make.model(seed=1)), tmp_path / "other")
    assert not list(tmp_path.iterdir())


def test_the_larger_inner_model_is_refused(make: Any, tmp_path: Path) -> None:
    model = make.model(mode="base", inner="mlp")
    with pytest.raises(ConfigError, match="larger inner model"):
        export_device(make.recommender(model), tmp_path / "x")
    with pytest.raises(ConfigError, match="click by click"):
        model.initial_state()
