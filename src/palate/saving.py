"""A saved thing is a folder: safetensors and JSON, written beside and renamed; no pickle anywhere.

Layout of a saved folder::

    palate.json          what it is: kind, name, format version, and the SHA-256 of every other file
    NAME.safetensors     tensors
    NAME.parquet         tables
    NAME.json            documents

Writing fills a hidden sibling folder, flushes it to disk and renames it, so that a reader sees the old thing or
the new one and never a half. Replacing a folder takes two renames; if the process dies between them, the next
:func:`load_folder` finds the previous one under its backup name and puts it back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.errors import SavedFolderError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import torch

__all__ = [
    "FORMAT",
    "SavedFolder",
    "load_folder",
    "restore_folder",
    "save_folder",
    "write_json",
    "write_manifest",
    "writing_folder",
]

FORMAT = 1
MANIFEST = "palate.json"


@dataclass(frozen=True)
class SavedFolder:
    """What :func:`load_folder` returns: the manifest and ways to read the parts, each checked against its hash."""

    path: Path
    kind: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def document(self, name: str) -> Any:
        """Return the JSON document ``name``."""
        return json.loads(self.file(f"{name}.json").read_text(encoding="utf-8"))

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """Return the tensors of ``NAME.safetensors`` on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.file(f"{name}.safetensors"))

    def arrays(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return the tensors of ``NAME.safetensors`` as numpy arrays."""
        from safetensors.numpy import load_file

        return load_file(self.file(f"{name}.safetensors"))

    def frame(self, name: str) -> pl.DataFrame:
        """Return the table of ``NAME.parquet``."""
        import polars as pl

        return pl.read_parquet(self.file(f"{name}.parquet"))

    def has(self, file: str) -> bool:
        """Say whether the folder has a part of that full file name."""
        return (self.path / file).is_file()

    def file(self, name: str) -> Path:
        """Return the path of a part.

        Raises:
            SavedFolderError: If the folder has no such part.
        """
        path = self.path / name
        if not path.is_file():
            raise SavedFolderError(
                f'{self.path} has no part "{name}".', remedy="The folder is incomplete: save it again."
            )
        return path


def save_folder(
    path: str | Path,
    *,
    kind: str,
    name: str,
    documents: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    arrays: Mapping[str, Mapping[str, np.ndarray[Any, Any]]] | None = None,
    frames: Mapping[str, pl.DataFrame] | None = None,
    texts: Mapping[str, str] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write a folder atomically and return its path; an existing folder is replaced as a whole.

    Args:
        path: The folder to write.
        kind: What the folder holds, for example ``recommender``.
        name: Public name of the component.
        documents: JSON documents by name.
        tensors: Groups of torch tensors by file name.
        arrays: Groups of numpy arrays by file name.
        frames: Polars tables by name, written as Parquet.
        texts: Text files by full file name (a card, a notice).
        facts: Short facts to keep in the manifest.
    """
    with writing_folder(path) as folder:
        for part, document in (documents or {}).items():
            (folder / f"{part}.json").write_text(_dumps(document), encoding="utf-8")
        for part, group in (tensors or {}).items():
            from safetensors.torch import save_file

            save_file(_separate(group), folder / f"{part}.safetensors")
        for part, array_group in (arrays or {}).items():
            from safetensors.numpy import save_file as save_arrays

            save_arrays(dict(array_group), folder / f"{part}.safetensors")
        for part, frame in (frames or {}).items():
            frame.write_parquet(folder / f"{part}.parquet", compression="zstd")
        for part, text in (texts or {}).items():
            (folder / part).write_text(text, encoding="utf-8")
        write_manifest(folder, kind=kind, name=name, facts=facts)
    return Path(path)


def write_manifest(folder: Path, *, kind: str, name: str, facts: Mapping[str, Any] | None = None) -> None:
    """Write ``palate.json`` over the files that ``folder`` holds: the last step of filling a saved folder by hand.

    :func:`save_folder` does this itself. Use it inside :func:`writing_folder` for parts that are written piece by
    piece, such as memory maps.
    """
    manifest = {"format": FORMAT, "kind": kind, "name": name, "facts": dict(facts or {}), "files": _hashes(folder)}
    (folder / MANIFEST).write_text(_dumps(manifest), encoding="utf-8")


@contextmanager
def writing_folder(path: str | Path) -> Iterator[Path]:
    """Give a fresh folder to fill; on success it takes the place of ``path`` at once, on error it is removed."""
    target = Path(path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.parent / f".{target.name}.new-{uuid.uuid4().hex[:12]}"
    scratch.mkdir()
    try:
        yield scratch
        _flush(scratch)
        _swap(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def load_folder(path: str | Path, *, kind: str | None = None, verify: bool = True) -> SavedFolder:
    """Open a saved folder and check that it is whole.

    Args:
        path: The folder.
        kind: The kind it must be of, or ``None`` for any.
        verify: Compare every file with its recorded SHA-256.

    Raises:
        SavedFolderError: If it does not exist, is not a saved folder, misses or has altered parts, is of another
            kind, or was written by a newer format.
    """
    target = Path(path).absolute()
    restore_folder(target)
    if not target.exists():
        raise SavedFolderError(f"{path} does not exist.", remedy="Check the path, or save something there first.")
    manifest_file = target / MANIFEST
    if not manifest_file.is_file():
        raise SavedFolderError(f"{path} is not a folder that Palate saved: {MANIFEST} is missing.")
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        found_format, found_kind, files = (
            int(manifest["format"]),
            str(manifest["kind"]),
            dict(manifest["files"]),
        )
        name, facts = str(manifest["name"]), dict(manifest.get("facts", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise SavedFolderError(
            f"{manifest_file} cannot be read: {error}.", remedy="The file was altered; restore it."
        ) from None
    if found_format > FORMAT:
        raise SavedFolderError(
            f"{path} has format {found_format}; this Palate reads up to {FORMAT}.",
            remedy="Update Palate: pip install -U palate",
        )
    if kind is not None and found_kind != kind:
        raise SavedFolderError(f'{path} holds a "{found_kind}"; a "{kind}" is expected.')
    for file, digest in files.items():
        part = target / file
        if Path(file).name != file or not part.is_file():
            raise SavedFolderError(f'{path} has lost its part "{file}".', remedy="Copy the folder again, whole.")
        if verify and _sha256(part) != digest:
            raise SavedFolderError(
                f'The part "{file}" of {path} was altered or cut short.',
                remedy="Copy the folder again, whole.",
            )
    return SavedFolder(target, found_kind, name, facts)


def write_json(path: str | Path, document: Any) -> None:
    """Write a JSON file atomically (beside, flushed, renamed); NaN and infinity become null."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.new-{uuid.uuid4().hex[:12]}")
    try:
        with scratch.open("w", encoding="utf-8") as stream:
            stream.write(_dumps(document))
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _separate(group: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return contiguous tensors on the CPU that share no memory (tied weights do), as safetensors asks."""
    parts: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for key, value in group.items():
        tensor = value.detach().contiguous().cpu()
        place = tensor.untyped_storage().data_ptr()
        parts[key] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return parts


def _dumps(document: Any) -> str:
    return json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def _hashes(folder: Path) -> dict[str, str]:
    return {file.name: _sha256(file) for file in sorted(folder.iterdir())}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    # Side by side, so that the file system can commit several at once.
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_sync, [*folder.rglob("*"), folder]))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _backup(target: Path) -> Path:
    return target.parent / f".{target.name}.previous"


def _swap(scratch: Path, target: Path) -> None:
    backup = _backup(target)
    try:
        if target.exists():
            shutil.rmtree(backup, ignore_errors=True)
            target.rename(backup)
        scratch.rename(target)
    except BaseException:
        restore_folder(target)
        raise
    # The new name must be on disk before the previous folder goes.
    _sync(target.parent)
    shutil.rmtree(backup, ignore_errors=True)


def restore_folder(path: str | Path) -> None:
    """Put the previous folder back when a replacement was cut between its two renames; otherwise do nothing."""
    target = Path(path).absolute()
    backup = _backup(target)
    if backup.exists() and not target.exists():
        backup.rename(target)
