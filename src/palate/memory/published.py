"""Readers of published benchmarks from files that you have: MemDaily, LoCoMo and LongMemEval. No data is shipped."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from palate.errors import DataError, UnknownNameError
from palate.memory.contract import Message
from palate.memory.trajectory import LETTERS, Question, Trajectory

__all__ = ["FORMATS", "read_locomo", "read_longmemeval", "read_memdaily", "read_published"]

_CHINESE_TIME = re.compile(r"(\d+)年(\d+)月(\d+)日\s*\S*\s*(\d+):(\d+)")
_DIALOGUE_ID = re.compile(r"D\d+:\d+")
_LOCOMO_KINDS = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}


def read_published(path: str | Path, format: str) -> list[Trajectory]:
    """Read a published file.

    Args:
        path: The file, plain or gzipped JSON.
        format: ``memdaily``, ``locomo`` or ``longmemeval``.

    Raises:
        DataError: If the file cannot be read or has another layout; names the place.
    """
    if format not in FORMATS:
        raise UnknownNameError.among("format of memory data", format, FORMATS)
    target = Path(path)
    try:
        content = target.read_bytes()
        document = json.loads(gzip.decompress(content) if target.suffix == ".gz" else content)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"{target.name} cannot be read: {error}.") from None
    place = _Place()
    try:
        return list(FORMATS[format](document, place))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"{target.name} is not of the format {format}: {error!r} at {place.name or 'its beginning'}.",
            remedy="Check --format, and that the file is whole.",
        ) from None


class _Place:
    """Where the reader is, for error messages."""

    name = ""


def read_memdaily(document: Any, place: _Place) -> Iterator[Trajectory]:
    """Yield trajectories of a MemDaily document, plain or with noise."""
    for type, scenarios in document.items():
        for scenario, entries in scenarios.items():
            for entry in entries:
                place.name = name = f"{type}/{scenario}/{entry['tid']}"
                asked = entry["QA"]
                messages = tuple(_memdaily_message(at, told, name) for at, told in enumerate(entry["message_list"]))
                question = Question(
                    type,
                    asked["question"],
                    tuple(str(asked["choices"][letter]) for letter in LETTERS),
                    LETTERS.index(asked["ground_truth"]),
                    tuple(str(id) for id in asked["target_step_id"]),
                    _iso(asked["time"]),
                    open_answer=str(asked["answer"]),
                )
                yield Trajectory(name, scenario, messages, question)


def read_locomo(document: Any, place: _Place) -> Iterator[Trajectory]:
    """Yield a trajectory per question of a LoCoMo document; messages are "speaker: text", ids those of the turns.

    The right reply to an adversarial question is that it was not mentioned.
    """
    for sample in document:
        talk, name = sample["conversation"], str(sample["sample_id"])
        messages = []
        for key in sorted((k for k in talk if re.fullmatch(r"session_\d+", k)), key=lambda k: int(k[8:])):
            place.name = f"{name}/{key}"
            time = datetime.strptime(talk[f"{key}_date_time"], "%I:%M %p on %d %B, %Y").isoformat(timespec="minutes")
            for turn in talk[key]:
                text = turn["text"] + (f" [picture: {turn['blip_caption']}]" if turn.get("blip_caption") else "")
                messages.append(Message(turn["dia_id"], f"{turn['speaker']}: {text}", time, "", name))
        for number, asked in enumerate(sample["qa"]):
            place.name = f"{name}, question {number}"
            evidence = [id for part in asked.get("evidence", []) for id in _DIALOGUE_ID.findall(str(part))]
            answer = str(asked["answer"]) if "answer" in asked else "not mentioned"
            kind = _LOCOMO_KINDS[asked["category"]]
            question = Question(kind, asked["question"], (), 0, tuple(dict.fromkeys(evidence)), open_answer=answer)
            yield Trajectory(f"{name}-{number}", kind, tuple(messages), question)


def read_longmemeval(document: Any, place: _Place) -> Iterator[Trajectory]:
    """Yield a trajectory per question of a LongMemEval document; the evidence are the turns marked as answers."""
    for entry in document:
        place.name = name = str(entry["question_id"])
        messages, evidence = [], []
        sessions = zip(entry["haystack_session_ids"], entry["haystack_dates"], entry["haystack_sessions"], strict=True)
        for at, (session, date, turns) in enumerate(sessions):
            for number, turn in enumerate(turns):
                # A session may stand in the haystack twice, so its place is part of the id.
                id = f"{at}:{session}:{number}"
                messages.append(Message(id, f"{turn['role']}: {turn['content']}", _slashed(date), "", name))
                if turn.get("has_answer"):
                    evidence.append(id)
        question = Question(
            entry["question_type"] + ("_abstention" if name.endswith("_abs") else ""),
            entry["question"],
            (),
            0,
            tuple(evidence),
            _slashed(entry["question_date"]),
            open_answer=str(entry["answer"]),
        )
        yield Trajectory(name, entry["question_type"], tuple(messages), question)


FORMATS: dict[str, Callable[[Any, _Place], Iterator[Trajectory]]] = {
    "memdaily": read_memdaily,
    "locomo": read_locomo,
    "longmemeval": read_longmemeval,
}


def _memdaily_message(at: int, told: Any, user: str) -> Message:
    if isinstance(told, str):
        return Message(str(at), told, user=user)
    return Message(str(told["mid"]), told["message"], _iso(told["time"]), told["place"], user)


def _iso(text: str) -> str:
    """Return a time such as ``2024年04月01日 周一 08:39`` as ISO 8601; what is ISO already stays."""
    found = _CHINESE_TIME.search(text)
    if found is None:
        return datetime.fromisoformat(text).isoformat(timespec="minutes")
    return datetime(*(int(part) for part in found.groups())).isoformat(timespec="minutes")  # type: ignore[arg-type]


def _slashed(text: str) -> str:
    """Return a time such as ``2023/05/30 (Tue) 23:40`` as ISO 8601."""
    day, _, rest = text.partition(" ")
    clock = rest.rpartition(" ")[2] or "00:00"
    return datetime.strptime(f"{day} {clock}", "%Y/%m/%d %H:%M").isoformat(timespec="minutes")
