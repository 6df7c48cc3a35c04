"""An opened export: what a click does to a state, and what a state makes of the catalogue; nothing is kept here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from palate.device.contract import StepModel
from palate.device.device_state import DeviceState
from palate.device.item_names import Item, ItemNames
from palate.device.item_rows import ItemRows
from palate.device.manifest import KIND, DeviceManifest
from palate.device.step_names import CORRECTED_STATE, STATE
from palate.errors import ConfigError, NonFiniteError, SavedFolderError
from palate.saving import SavedFolder, load_folder

__all__ = ["DeviceModel", "RankedItem"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
AnyArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class RankedItem:
    """One place of a list.

    Attributes:
        rank: 1 is best.
        item: Item id as in the log.
        title: Title from the catalogue, if there is one.
        score: Higher is better; not a probability.
    """

    rank: int
    item: Item
    title: str | None
    score: float

    @property
    def name(self) -> str:
        """What people call the item."""
        return self.title or str(self.item)


class DeviceModel:
    """The step model with the catalogue: a pure function of states.

    Args:
        manifest: What the export says of itself.
        step: What runs a click.
        rows: What items are compared with.
        names: Ids and titles.
        step_state: The step's state before the first click.
        start: The user before the first click, float32 ``[D]``.
    """

    def __init__(
        self,
        manifest: DeviceManifest,
        step: StepModel,
        rows: ItemRows,
        names: ItemNames,
        step_state: dict[str, AnyArray],
        start: FloatArray,
    ) -> None:
        self.manifest, self.step, self.rows, self.names = manifest, step, rows, names
        self._initial = DeviceState.initial(manifest, step_state, start)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Self:
        """Open an export.

        Args:
            path: The folder that ``palate device export`` wrote.
            verify: Compare every file with its recorded checksum.

        Raises:
            SavedFolderError: If the folder is missing, altered, incomplete, not an export, or of a newer format.
            MissingExtraError: If the runtime that it is for is not installed.
        """
        folder = load_folder(path, kind=KIND, verify=verify)
        manifest = _manifest(folder)
        rows, names = ItemRows.from_arrays(folder.arrays("items")), ItemNames.from_arrays(folder.arrays("catalogue"))
        if not rows.num_items == len(names) == manifest.num_items:
            raise SavedFolderError(f"{path} has {rows.num_items} rows and {len(names)} names.", remedy="Export again.")
        begin = folder.arrays("initial_state")
        state = {name: begin[name] for name in (CORRECTED_STATE if manifest.corrected else STATE)}
        return cls(manifest, open_step(folder.file(manifest.step), manifest), rows, names, state, begin["start"])

    def initial(self) -> DeviceState:
        """Return the state of somebody of whom nothing is known."""
        return self._initial

    def after(self, state: DeviceState, item: int) -> DeviceState:
        """Return the state after a click on item number ``item`` (1..V).

        Raises:
            ConfigError: If there is no such number.
            NonFiniteError: If the new state is not finite; the old one is as it was.
        """
        if not 1 <= item <= self.manifest.num_items:
            raise ConfigError(f"There is no item number {item}; the catalogue has 1 to {self.manifest.num_items}.")
        user, hidden, step = self.step.run(item, state.step, state.correction, state.seen)
        if not all(np.isfinite(array).all() for array in (user, hidden, *step.values())):
            raise NonFiniteError(
                f"Click {state.seen + 1} on item {self.names.item(item)} makes a state that is not finite.",
                remedy="The state before it is kept; export the model again.",
            )
        return state.after(item, user, hidden, step)

    def rank(self, state: DeviceState, k: int = 10, *, exclude_seen: bool = True) -> list[RankedItem]:
        """Return the ``k`` best items, fewer if the catalogue has no more; equal scores stand in catalogue order.

        Raises:
            ConfigError: If ``k`` is below 1.
        """
        if k < 1:
            raise ConfigError(f"k is {k}.", remedy="Ask for at least one item.")
        scores = self.rows.scores(state.user)
        if exclude_seen:
            scores[state.taken_items()] = -np.inf
        places = [number for number in _best(scores, k).tolist() if scores[number] > -np.inf]
        return [
            RankedItem(rank, self.names.item(number), self.names.title(number), float(scores[number]))
            for rank, number in enumerate(places, start=1)
        ]


def open_step(path: Path, manifest: DeviceManifest) -> StepModel:
    """Return the step of an export in the runtime that it is for."""
    if manifest.runtime == "onnx":
        from palate.device.onnx_step import OnnxStep

        return OnnxStep(path, manifest)
    from palate.device.executorch_step import ExecutorchStep

    return ExecutorchStep(path, manifest)


def _manifest(folder: SavedFolder) -> DeviceManifest:
    document = folder.document("device")
    found = document.get("format") if isinstance(document, dict) else None
    if isinstance(found, int) and found > 1:
        raise SavedFolderError(
            f"{folder.path} is an export of format {found}; this Palate reads up to 1.",
            remedy="Update Palate: pip install -U palate",
        )
    try:
        return DeviceManifest.model_validate(document)
    except ConfigError as error:
        raise SavedFolderError(f"device.json of {folder.path} cannot be used: {error.message}") from None


def _best(scores: FloatArray, k: int) -> AnyArray:
    """Return the places of the ``k`` highest scores, the highest first."""
    if k < len(scores):
        least = np.partition(scores, -k)[-k]
        pool = np.flatnonzero(scores >= least)
    else:
        pool = np.arange(len(scores))
    return pool[np.argsort(-scores[pool], kind="stable")][:k]
