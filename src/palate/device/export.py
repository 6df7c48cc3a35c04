"""From a saved recommender to a folder that a device can play."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from safetensors.numpy import save_file

from palate.device.correction import Correction
from palate.device.device_model import open_step
from palate.device.item_rows import ItemRows, Precision, encode_rows
from palate.device.manifest import KIND, DeviceManifest, DeviceRuntimeName
from palate.device.small_weights import with_small_weights
from palate.device.step_program import StepProgram
from palate.errors import ConfigError, PalateError, SavedFolderError
from palate.next_item_recommender import NextItemRecommender
from palate.recommender import Recommender
from palate.saving import load_folder, write_json, write_manifest, writing_folder
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.costs import self_correction_cost
from palate.sequence.model_version import model_versions

__all__ = ["UnfaithfulExportError", "export_device"]

AnyArray = np.ndarray[Any, np.dtype[Any]]

_STEPS = 25  # clicks that every export must follow before it is handed out: two and a half mini-batches
_TOLERANCE = 1e-4


class UnfaithfulExportError(PalateError):
    """The exported step computes something else than the model."""

    code: ClassVar[str] = "P403"


def export_device(
    recommender: Recommender,
    path: str | Path,
    *,
    to: DeviceRuntimeName = "onnx",
    precision: Precision = "float32",
    corrections: bool = True,
) -> Path:
    """Write a recommender as a folder that a device can play without torch, and return the folder.

    Before the folder takes its place, 25 chained clicks through the written step are compared with the model.

    Args:
        recommender: A fitted ``cocorrrec`` of mode ``base`` or ``causal``.
        path: The folder; an earlier export there is replaced as a whole, anything else is left alone.
        to: ``onnx`` for ONNX Runtime, ``executorch`` for ExecuTorch.
        precision: ``float16`` halves the item rows; ``int8`` quarters them and the layer's matrices.
        corrections: Let the step take corrections from the cloud, if the model has them.

    Raises:
        ConfigError: If this model has no step to export, or ``path`` holds something else.
        MissingExtraError: If the exporter is not installed.
        UnfaithfulExportError: If the written step is not the model's.
    """
    model = _exportable(recommender)
    _check_place(Path(path))
    corrected = corrections and model.config.mode == "causal"
    manifest = _manifest_of(recommender, model, to, precision, corrected=corrected)
    program = StepProgram(with_small_weights(model, precision), corrected=corrected).eval()
    with writing_folder(path) as folder:
        (program.save_onnx if to == "onnx" else program.save_executorch)(folder / manifest.step)
        _check_faithful(program, folder / manifest.step, manifest)
        write_json(folder / "device.json", manifest.model_dump(mode="json"))
        save_file(_beginning(program, model), folder / "initial_state.safetensors")
        save_file(_rows(model, precision).to_arrays(), folder / "items.safetensors")
        save_file(cast(NextItemRecommender, recommender).catalogue.to_arrays(), folder / "catalogue.safetensors")
        if corrected:
            save_file(_summary(model), folder / "summary.safetensors")
        write_manifest(folder, kind=KIND, name=recommender.card.model)
    return Path(path)


def _exportable(recommender: Recommender) -> CoCorrRec:
    model: Any = getattr(recommender, "model", None)
    if not isinstance(model, CoCorrRec):
        what = "A ranker" if recommender.card.task == "rank" else f'"{recommender.card.model}"'
        rank = " A ranker becomes an ONNX file with palate.rank.export.export_onnx." if what == "A ranker" else ""
        raise ConfigError(
            f"{what} has no step with a state of fixed size, which is what runs on a device.",
            remedy=f'Fit "cocorrrec" (mode causal or base): it can be exported.{rank}',
        )
    if model.config.mode == "paper":
        raise ConfigError(
            'A cocorrrec of mode="paper" corrects a click from an upload that holds the click itself; no device can.',
            remedy='Fit it with mode="causal".',
        )
    if model.config.inner != "linear":
        raise ConfigError(
            "This cocorrrec has the larger inner model, which cannot go click by click.",
            remedy='Fit it with inner="linear".',
        )
    if not model.config.update_in_service:
        raise ConfigError(
            "This cocorrrec is the ablation that does not learn in service (update_in_service is false).",
            remedy="Fit it with update_in_service true.",
        )
    return model


def _check_place(path: Path) -> None:
    """Refuse to replace a folder that is not an export: a slip of the keyboard must not cost a trained model."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        load_folder(path, kind=KIND, verify=False)
    except SavedFolderError:
        raise ConfigError(f"{path} exists and is not a device export.", remedy="Choose another place.") from None


def _manifest_of(
    recommender: Recommender, model: CoCorrRec, to: DeviceRuntimeName, precision: Precision, *, corrected: bool
) -> DeviceManifest:
    config, versions = model.config, model_versions(model) if model.config.mode != "base" else None
    size, m = config.embedding_size, config.mini_batch_size
    cost = self_correction_cost(size, config.num_heads, m)
    return DeviceManifest(
        runtime=to,
        step="step.onnx" if to == "onnx" else "step.pte",
        model_version=(versions or model_versions(model)).hidden,
        summary_version=versions.summary if versions and corrected else None,
        data=recommender.card.data.name,
        precision=precision,
        corrected=corrected,
        num_items=model.num_items,
        embedding_size=size,
        num_heads=config.num_heads,
        mini_batch_size=m,
        sync_every=config.sync_every,
        upload_items=min(config.max_length, 1000),
        parameters=cost.parameters,
        flops_per_click=cost.flops + (4 * size * m if corrected else 0),
        flops_per_ranking=2 * model.num_items * size,
    )


@torch.inference_mode()
def _rows(model: CoCorrRec, precision: Precision) -> ItemRows:
    return ItemRows(*encode_rows(model.output_table().float().cpu().numpy(), precision))


def _beginning(program: StepProgram, model: CoCorrRec) -> dict[str, AnyArray]:
    state = dict(zip(program.names()[0][1:], (part.numpy() for part in program.state()), strict=False))
    return {**state, "start": model.start.detach().float().cpu().numpy()}


def _summary(model: CoCorrRec) -> dict[str, AnyArray]:
    """Return the cloud's recurrences, for devices that upload their summaries only."""
    found = {name: value for name, value in model.state_dict().items() if re.fullmatch(r"gcn\.\w+\.gru\.\w+", name)}
    return {name: value.float().cpu().numpy() for name, value in found.items()}


@torch.inference_mode()
def _check_faithful(program: StepProgram, file: Path, manifest: DeviceManifest) -> None:
    """Play random clicks through the written step and the model side by side."""
    step = open_step(file, manifest)
    tensors = program.state()
    names = program.names()[0][1 : 1 + len(tensors)]
    state: dict[str, AnyArray] = {name: part.numpy() for name, part in zip(names, tensors, strict=True)}
    worst = 0.0
    for seen, (item, correction) in enumerate(_random_clicks(manifest)):
        extra = [torch.tensor(array) for array in correction.inputs(seen)] if manifest.corrected else []
        user, hidden, *new = program(torch.tensor([item]), *tensors, *extra)
        found = step.run(item, state, correction, seen)
        pairs = zip((user[0], hidden[0], *new), (found.user, found.hidden, *found.state.values()), strict=True)
        worst = max([worst, *(float(np.abs(mine.numpy() - theirs).max()) for mine, theirs in pairs)])
        tensors, state = tuple(new), found.state
        if not worst <= _TOLERANCE:
            raise UnfaithfulExportError(
                f"After click {seen + 1} the exported step differs from the model by {worst:.2g}; "
                f"{_TOLERANCE:g} is allowed.",
                remedy="Report it with the model's settings; the export was not written.",
            )


def _random_clicks(manifest: DeviceManifest) -> Iterator[tuple[int, Correction]]:
    """Yield items and corrections, the second of which hold for some clicks and not for others."""
    rng = np.random.default_rng(0)
    h, m, d = manifest.num_heads, manifest.mini_batch_size, manifest.head_width
    for start, stop in pairwise(range(0, _STEPS + 1, 5)):
        attention, bias = rng.normal(size=(h, m, m)), rng.normal(size=(h, m, d))
        answer = Correction(attention.astype(np.float32), bias.astype(np.float32), 0.3, 0.25, seq_no=start, ttl_steps=3)
        for _ in range(start, stop):
            yield int(rng.integers(1, manifest.num_items + 1)), answer
