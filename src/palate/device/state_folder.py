"""Where a device keeps its users' states: each write is whole or not there, and the last few can be gone back to."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from palate.device.device_state import DeviceState
from palate.device.manifest import DeviceManifest
from palate.device.state_file import OtherModelError, pack_state, unpack_state
from palate.errors import ConfigError, SavedFolderError

__all__ = ["StateFolder"]

logger = logging.getLogger(__name__)

User = str | int


class StateFolder:
    """States of users on disk, for one process at a time.

    ``FOLDER/<digest of the user>/<clicks so far>.state``: a write fills a hidden file, flushes it and renames it, so a
    process that dies at any moment leaves the last good state. A file that was damaged since is passed over for the
    one before it. Names of users are not written down.

    Args:
        path: The folder; made when it is missing.
        manifest: Of the model whose states these are.
        keep: States that are kept of each user: how far :meth:`rollback` can go back, plus one.

    Raises:
        ConfigError: If ``keep`` is below 1.
        SavedFolderError: If another process has the folder open.
    """

    def __init__(self, path: str | Path, manifest: DeviceManifest, *, keep: int = 8) -> None:
        if keep < 1:
            raise ConfigError(f"keep is {keep}; at least the last state must be kept.")
        self.path, self.keep = Path(path), keep
        self._manifest = manifest
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.path / ".lock")

    def load(self, user: User) -> DeviceState | None:
        """Return the last good state of a user, or ``None`` if there is none.

        Raises:
            OtherModelError: If another model made it.
            SavedFolderError: If there are states and none can be read.
        """
        files, damage = self._files(user), None
        for file in files:
            try:
                arrays = unpack_state(file.read_bytes(), user=_digest(user), model_version=self._manifest.model_version)
                return DeviceState.from_arrays(arrays, self._manifest)
            except OtherModelError:
                raise
            except (SavedFolderError, OSError) as error:
                logger.warning("The state %s is passed over: %s", file.name, error)
                damage = error
        if damage is not None:
            raise SavedFolderError(
                f"None of the {len(files)} states of this user in {self.path} can be read: {damage}",
                remedy="Forget the user and begin anew.",
            )
        return None

    def save(self, user: User, state: DeviceState) -> None:
        """Write the state of a user, and let go of those that are no longer kept."""
        folder = self.path / _digest(user)
        if not folder.is_dir():
            folder.mkdir()
            _flush(self.path)
        content = pack_state(state.to_arrays(), user=_digest(user), model_version=self._manifest.model_version)
        scratch = folder / ".new"
        with scratch.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(folder / f"{state.seen:015d}.state")
        _flush(folder)
        for old in self._files(user)[self.keep :]:
            old.unlink(missing_ok=True)

    def rollback(self, user: User, steps: int = 1) -> DeviceState | None:
        """Undo the last ``steps`` clicks and return the state before them; ``None`` if that is before the first.

        Raises:
            ConfigError: If so many states are not kept.
        """
        state = self.load(user)
        seen = 0 if state is None else state.seen
        kept = {int(file.stem): file for file in self._files(user)}
        wanted = seen - steps
        if steps < 1 or wanted < 0 or (wanted > 0 and wanted not in kept):
            oldest = min([*kept, seen], default=0)
            furthest = seen if oldest <= 1 else seen - oldest
            raise ConfigError(
                f"{steps} clicks cannot be undone: {seen} were made and {furthest} can be gone back.",
                remedy="Keep more states, or forget the user.",
            )
        for count in sorted(kept, reverse=True):  # the newest first: stopped half-way, fewer clicks are undone
            if count > wanted:
                kept[count].unlink()
        _flush(self.path / _digest(user))
        return self.load(user)

    def forget(self, user: User) -> None:
        """Remove everything that is known of a user."""
        folder = self.path / _digest(user)
        if folder.exists():
            gone = self.path / f".gone-{folder.name}"
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            _flush(self.path)
        for left in self.path.glob(".gone-*"):
            shutil.rmtree(left, ignore_errors=True)

    def nbytes(self, user: User) -> int:
        """Return the bytes of a user's last state on disk, 0 where there is none."""
        files = self._files(user)
        return files[0].stat().st_size if files else 0

    def close(self) -> None:
        """Let another process open the folder."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _files(self, user: User) -> list[Path]:
        """Return the states of a user, the newest first."""
        files = (self.path / _digest(user)).glob("[0-9]*.state")
        return sorted((file for file in files if file.stem.isdecimal()), reverse=True)


def _digest(user: User) -> str:
    return hashlib.sha256(str(user).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(file: Path) -> IO[bytes]:
    """Open ``file`` and hold it for this process; the system lets go of it when the process ends, however."""
    stream = file.open("wb")
    with contextlib.suppress(ImportError):  # not there on Windows, where the lock is left out
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise SavedFolderError(
                f"The states in {file.parent} are in use by another process.", remedy="End it, or use another folder."
            ) from None
    return stream
