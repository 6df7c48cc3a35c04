"""The recommender on a device: clicks in, lists out, states on disk; no torch, and never a network while scoring."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from palate.device.contract import CorrectionSource
from palate.device.correction import Correction
from palate.device.device_model import DeviceModel, RankedItem
from palate.device.device_state import DeviceState
from palate.device.item_names import Item
from palate.device.manifest import DeviceManifest
from palate.device.state_folder import StateFolder
from palate.errors import ConfigError

__all__ = ["CorrectionStatus", "DeviceRuntime", "SyncOutcome", "User"]

User = str | int
SyncOutcome = Literal["corrected", "unanswered", "refused"]


@dataclass(frozen=True, slots=True)
class CorrectionStatus:
    """Whether the next click is corrected.

    Attributes:
        active: Whether it is.
        made_at: Clicks that the correction knows, or ``None`` if there never was one.
        clicks_left: Clicks for which it still holds.
    """

    active: bool
    made_at: int | None
    clicks_left: int


class DeviceRuntime:
    """Plays one export for any number of users.

    A user of whom nothing is known has the learned beginning: :meth:`recommend` answers before the first click. An
    item that is not in the catalogue is an error that changes nothing. A click computes with what lies on the device;
    :meth:`sync` alone talks to the cloud, and what it brings counts from the next click on.

    Args:
        export: Folder that ``palate device export`` wrote.
        states: Folder for the states; one process at a time.
        keep: States that are kept of each user, to undo clicks.
        verify: Compare the files of the export with their checksums.

    Raises:
        SavedFolderError: If the export cannot be used, or the states are in use.
        MissingExtraError: If the runtime that the export is for is not installed.
    """

    def __init__(self, export: str | Path, states: str | Path, *, keep: int = 8, verify: bool = True) -> None:
        self.model = DeviceModel.open(export, verify=verify)
        self.states = StateFolder(states, self.manifest, keep=keep)
        self._turn = threading.RLock()

    @property
    def manifest(self) -> DeviceManifest:
        """What the export says of itself."""
        return self.model.manifest

    def click(self, user: User, item: Item) -> DeviceState:
        """Learn that ``user`` took ``item`` (an id or a title); on return the new state is on disk.

        Raises:
            UnknownItemError: If the catalogue does not have the item; nothing has changed.
        """
        number = self.model.names.number(item)
        with self._turn:
            state = self.model.after(self.state(user), number)
            self.states.save(user, state)
        return state

    def recommend(self, user: User, k: int = 10, *, exclude_seen: bool = True) -> list[RankedItem]:
        """Return the ``k`` best items for a user, without what they took unless told otherwise."""
        return self.model.rank(self.state(user), k, exclude_seen=exclude_seen)

    def state(self, user: User) -> DeviceState:
        """Return what is known of a user."""
        with self._turn:
            return self.states.load(user) or self.model.initial()

    def rollback(self, user: User, steps: int = 1) -> DeviceState:
        """Undo the last ``steps`` clicks of a user.

        Raises:
            ConfigError: If so many states are not kept.
        """
        with self._turn:
            return self.states.rollback(user, steps) or self.model.initial()

    def forget(self, user: User) -> None:
        """Remove everything that is known of a user."""
        with self._turn:
            self.states.forget(user)

    def due(self, user: User) -> bool:
        """Say whether it is time to ask the cloud: every ``sync_every`` clicks, as in training."""
        seen = self.state(user).seen
        return self.manifest.corrected and seen > 0 and seen % self.manifest.sync_every == 0

    def sync(self, user: User, source: CorrectionSource) -> SyncOutcome:
        """Ask the cloud for a correction of this user's coming clicks; go on as before if none comes.

        Returns ``corrected``; ``unanswered`` if the source gave nothing; ``refused`` if what it gave has another
        shape, is not finite, or answers another upload. Takes as long as the source does; scoring never waits for it.

        Raises:
            ConfigError: If the export takes no corrections.
        """
        if not self.manifest.corrected:
            raise ConfigError(
                "This export takes no corrections.", remedy='Export a "cocorrrec" of mode="causal" with corrections.'
            )
        state = self.state(user)
        if not state.seen:
            return "unanswered"
        answer = source.request(state.upload(), state.seen)
        if answer is None:
            return "unanswered"
        if answer.seq_no != state.seen or not self._fits(answer):
            return "refused"
        with self._turn:
            now = self.state(user)
            if now.seen < state.seen:  # undone or forgotten meanwhile
                return "refused"
            self.states.save(user, now.corrected_by(answer))
        return "corrected"

    def correction(self, user: User) -> CorrectionStatus:
        """Say whether the next click of a user is corrected."""
        state = self.state(user)
        answer = state.correction
        if not answer.ttl_steps:
            return CorrectionStatus(active=False, made_at=None, clicks_left=0)
        left = answer.ttl_steps - (state.seen - answer.seq_no)
        return CorrectionStatus(active=answer.is_fresh(state.seen), made_at=answer.seq_no, clicks_left=max(left, 0))

    def close(self) -> None:
        """Let another process open the states."""
        self.states.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fits(self, answer: Correction) -> bool:
        none = self.model.initial().correction
        weights = np.array([answer.attention_weight, answer.bias_weight])
        return (
            answer.attention.shape == none.attention.shape
            and answer.bias.shape == none.bias.shape
            and answer.attention.dtype == answer.bias.dtype == np.float32
            and all(np.isfinite(array).all() for array in (answer.attention, answer.bias, weights))
        )
