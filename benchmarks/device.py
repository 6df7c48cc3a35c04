"""A click on the device: CoCorrRec's step in three runtimes, and beside SASRec's two ways of taking one more item.

    python benchmarks/device.py

takes about two minutes on two cores. Writes ``results/benchmarks/device.json``. Everything runs in one thread; the
models have the sizes of the paper (D = 64, four heads, one layer) and random weights, on which no time depends.
Reaching the same result means here: the exported steps give the states of the eager ones (an export is refused
otherwise), and SASRec with a cache gives the state of SASRec without.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import measure
from palate.device.device_model import DeviceModel
from palate.device.export import export_device
from palate.device.measure import measure_export
from palate.device.small_weights import with_small_weights
from palate.device.step_program import StepProgram
from palate.exporting import quiet_exporter
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.costs import sasrec_cost, self_correction_cost
from palate.sequence.sasrec import SASRec, SASRecConfig

ITEMS, SIZE, HEADS = 3416, 64, 4
LENGTHS = (10, 50, 200, 1000)
Click = Callable[[], Any]


class Recomputing(nn.Module):
    """SASRec that reads the whole history at every click."""

    def __init__(self, model: SASRec) -> None:
        super().__init__()
        self.model = model

    def forward(self, items: Tensor) -> Tensor:
        """Return the last state, ``[1, D]``."""
        return self.model.encode(items, torch.ones(1, dtype=torch.int64))[:, -1]


class Caching(nn.Module):
    """SASRec with one block that keeps keys and values: work and state still grow, by one row a click."""

    def __init__(self, model: SASRec) -> None:
        super().__init__()
        self.model = model

    def forward(self, item: Tensor, place: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the state ``[1, D]`` and the grown cache, each ``[1, h, n + 1, d]``."""
        model, block = self.model, self.model.blocks[0]
        x = model.item_embedding(item) * math.sqrt(SIZE) + model.position.table(place)
        shape = (1, 1, 3, HEADS, SIZE // HEADS)
        query, key, value = block.attention.inputs(block.attention_norm(x)).view(shape).permute(2, 0, 3, 1, 4)
        keys, values = torch.cat([keys, key], 2), torch.cat([values, value], 2)
        weights = torch.softmax(query @ keys.transpose(-1, -2) / math.sqrt(SIZE // HEADS), -1)
        x = x + block.attention.output((weights @ values).reshape(1, SIZE))
        x = x + block.feed_forward(block.feed_forward_norm(x))
        return model.norm(x), keys, values


def models() -> tuple[CoCorrRec, SASRec]:
    """Return both models at the size of the paper."""
    torch.manual_seed(0)
    ours = CoCorrRec(ITEMS, CoCorrRecConfig(embedding_size=SIZE, num_heads=HEADS, mode="base")).eval()
    settings: dict[str, Any] = {"num_layers": 1, "num_heads": HEADS, "hidden_factor": 4, "max_length": max(LENGTHS)}
    return ours, SASRec(ITEMS, SASRecConfig(embedding_size=SIZE, **settings)).eval().requires_grad_(False)


def recommender_of(model: CoCorrRec) -> Any:
    """Return a recommender around an untrained model, as far as an export needs one."""
    from types import SimpleNamespace

    import polars as pl

    from palate.catalogue import Catalogue
    from palate.data.item_index import ItemIndex
    from palate.data.tokens import TokenIndex

    ids = pl.Series([str(number) for number in range(1, ITEMS + 1)])
    card = SimpleNamespace(task="next-item", model="cocorrrec", data=SimpleNamespace(name="random"))
    return SimpleNamespace(model=model, card=card, catalogue=Catalogue(ItemIndex(TokenIndex(ids))))


def session_of(module: nn.Module, inputs: tuple[Tensor, ...], shapes: Any, path: Path) -> Any:
    """Return an ONNX Runtime session of one thread for a module."""
    import onnxruntime

    with torch.no_grad(), quiet_exporter():
        program = torch.export.export(module, inputs, dynamic_shapes=shapes)
        torch.onnx.export(program, inputs, dynamo=True).save(str(path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def attention_clicks(model: SASRec, folder: Path) -> dict[str, Callable[[int], Click]]:
    """Return the two ways of SASRec in ONNX Runtime: for a length of history, what one more click does."""
    length = torch.export.Dim("length", min=2, max=max(LENGTHS) - 1)
    items = np.random.default_rng(1).integers(1, ITEMS + 1, (1, max(LENGTHS)))
    whole = session_of(
        Recomputing(model), (torch.ones(1, 5, dtype=torch.int64),), ({1: length},), folder / "whole.onnx"
    )
    # Four tensors of their own: the exporter takes one that is given twice for one input.
    item, place, keys, values = (
        torch.ones(1, dtype=torch.int64),
        torch.tensor([5]),
        *torch.zeros(2, 1, HEADS, 5, SIZE // HEADS).unbind(),
    )
    shapes = (None, None, {2: length}, {2: length})
    step = session_of(Caching(model), (item, place, keys, values), shapes, folder / "step.onnx")

    def keep(item: int, place: int, keys: Any, values: Any) -> Any:
        names = [entry.name for entry in step.get_inputs()]
        given = (np.array([item]), np.array([place]), keys, values)
        return step.run(None, dict(zip(names, given, strict=True)))

    def cached(count: int) -> Click:
        keys = values = np.zeros((1, HEADS, 0, SIZE // HEADS), np.float32)
        state = None
        for place in range(count - 1):
            state, keys, values = keep(items[0, place], place, keys, values)
        state = keep(items[0, count - 1], count - 1, keys, values)[0]
        gap = float(np.abs(state - recomputed(count)()).max())
        if not gap < 1e-4:
            raise SystemExit(f"SASRec with a cache differs from SASRec without by {gap} after {count} items.")
        return lambda: keep(items[0, count - 1], count - 1, keys, values)

    def recomputed(count: int) -> Click:
        name, history = whole.get_inputs()[0].name, np.ascontiguousarray(items[:, :count])
        return lambda: whole.run(None, {name: history})[0]

    return {"a cache of keys and values": cached, "the whole history": recomputed}


def click_of(opened: DeviceModel, count: int) -> Click:
    """Return what one more click does after ``count - 1``."""
    items = np.random.default_rng(1).integers(1, ITEMS + 1, count).tolist()
    state = opened.initial()
    for item in items[:-1]:
        state = opened.after(state, item)
    return lambda: opened.step.run(items[-1], state.step, None, state.seen)


def eager_click(model: CoCorrRec) -> Click:
    """Return a click in torch without gradients."""
    program = StepProgram(with_small_weights(model, "float32"), corrected=False).eval()
    inputs = program.example()

    @torch.inference_mode()
    def click() -> Any:
        return program(*inputs)

    return click


def repeated(click: Click, clicks: int) -> Callable[[], None]:
    """Return the work of ``clicks`` clicks."""

    def work() -> None:
        for _ in range(clicks):
            click()

    return work


def clicks_row(
    what: str, ours: Click, peer: Click, peer_name: str, target: float, clicks: int = 200, **facts: Any
) -> dict[str, Any]:
    """Time clicks of both sides in turns."""
    measured = measure.alternate(repeated(ours, clicks), repeated(peer, clicks), repeats=7)
    seconds = [statistics.median(t.seconds for t in side) / clicks for side in (measured.ours, measured.peer)]
    facts |= {"milliseconds": {"ours": 1e3 * seconds[0], "peer": 1e3 * seconds[1]}}
    return measure.row(what, measured, amount=clicks, unit="clicks/s", peer_name=peer_name, target=target, facts=facts)


def size_row(
    what: str, unit: str, ours: float, peer: float, peer_name: str, target: float, **facts: Any
) -> dict[str, Any]:
    """Return a row of two sizes; less is better."""
    ratio = peer / ours
    spread = {"median": ratio, "min": ratio, "max": ratio}
    return {
        "what": what, "unit": unit, "ours": ours, "peer": peer, "peer_name": peer_name, "ratio": spread, "repeats": 1,
        "target": target, "met": ratio >= target, **facts,
    }  # fmt: skip


def against_attention(opened: DeviceModel, model: SASRec, folder: Path) -> list[dict[str, Any]]:
    """Time a click after N items: CoCorrRec's does not grow, SASRec's does."""
    rows, ours = [], self_correction_cost(SIZE, HEADS)
    for way, clicks in attention_clicks(model, folder).items():
        for count in LENGTHS:
            theirs = sasrec_cost(SIZE, count, cached=way.startswith("a cache"))
            rows.append(
                clicks_row(
                    f"click after {count} items",
                    click_of(opened, count),
                    clicks(count),
                    f"SASRec with {way}, ONNX Runtime",
                    1.0,
                    clicks=200 if count < 1000 or theirs.flops < 1e6 else 20,
                    flops={"ours": ours.flops, "peer": theirs.flops},
                    state_numbers={"ours": ours.state, "peer": theirs.state},
                )
            )
    flat = clicks_row(
        "click after 1,000 items", click_of(opened, 1000), click_of(opened, 10), "after 10 items", 0.9, clicks=400
    )
    return [*rows, flat]


IN_A_PROCESS = """
    import sys
    if sys.argv[1] == "eager":
        import torch
        from palate.sequence.device_step import DeviceStep
        from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
        model = CoCorrRec(3416, CoCorrRecConfig(embedding_size=64, num_heads=4, mode="base")).eval()
        step, state = DeviceStep(model), model.initial_state()
        with torch.inference_mode():
            for item in range(1, 101):
                user, *state = step(torch.tensor([item]), *state)
    else:
        from palate.device.device_model import DeviceModel
        opened = DeviceModel.open(sys.argv[1])
        state = opened.initial()
        for item in range(1, 101):
            state = opened.after(state, item)
            opened.rank(state)
    with open("/proc/self/status") as lines:
        print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


def memory_of(what: str) -> float:
    """Return the largest resident memory of a fresh process that plays 100 clicks, in MB (Linux only)."""
    script = [sys.executable, "-c", textwrap.dedent(IN_A_PROCESS), what]
    return 1.024e-3 * float(subprocess.run(script, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Run all comparisons and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=measure.RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ours, attention = models()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recommender = recommender_of(ours)
        plain = export_device(recommender, folder / "onnx")
        small = export_device(recommender, folder / "int8", precision="int8")
        program = export_device(recommender, folder / "executorch", to="executorch")
        opened, eager = DeviceModel.open(plain), eager_click(ours)
        rows = against_attention(opened, attention, folder)
        runs = (("ONNX Runtime", plain, 2.0), ("ONNX Runtime, int8 weights", small, 2.0), ("ExecuTorch", program, 1.0))
        for runtime, export, target in runs:
            cost = measure_export(export)
            click = click_of(DeviceModel.open(export), 10)
            facts = {"bytes": cost.bytes_on_disk, "list_milliseconds": cost.list_milliseconds}
            rows.append(clicks_row(f"click in {runtime}", click, eager, "PyTorch, eager", target, **facts))
        sizes = [sum(measure_export(export, clicks=20).bytes_on_disk.values()) for export in (small, plain)]
        rows.append(size_row("export with int8 weights on disk", "bytes", *sizes, "float32", 3.0))
        states = [4.0 * cost.state for cost in (self_correction_cost(SIZE, HEADS), sasrec_cost(SIZE, 100))]
        rows.append(size_row("state after 100 items", "bytes", *states, "SASRec with a cache", 5.0))
        memory = [memory_of(str(plain)), memory_of("eager")]
        rows.append(size_row("resident memory while playing", "MB", *memory, "PyTorch, eager", 2.0))
        memory = [memory_of(str(program)), memory[1]]
        name = "PyTorch, eager (ExecuTorch's Python interface brings torch in; a phone does not)"
        rows.append(size_row("resident memory while playing, ExecuTorch", "MB", *memory, name, 0.8))
    measure.write("device", rows, folder=options.folder)


if __name__ == "__main__":
    main()
