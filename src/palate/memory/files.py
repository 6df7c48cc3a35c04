"""Trajectories on disk: shards of JSON lines or Parquet, and MemDaily's layout.

A shard holds whole blocks, so shards are the same bytes for any number of workers, and an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from palate.errors import ConfigError, DataError
from palate.memory.network import Network, NetworkConfig
from palate.memory.rewriting import Rewriter
from palate.memory.simulator import BLOCK, Simulator, SimulatorConfig
from palate.memory.trajectory import LETTERS, Trajectory
from palate.saving import write_json

__all__ = ["read_trajectories", "rewrite_shards", "to_memdaily", "write_parquet", "write_shards"]

MANIFEST = "memory.json"
_SCENARIOS = {"person": "roles", "event": "events", "item": "items", "place": "places", "hybrid": "hybrid"}


def write_shards(
    folder: str | Path,
    config: SimulatorConfig,
    count: int,
    *,
    network: Network | None = None,
    workers: int = 1,
    per_shard: int = 4 * BLOCK,
) -> dict[str, Any]:
    """Simulate ``count`` trajectories into ``folder`` and return what was written, with a SHA-256 per shard.

    Shards that are there already with the right settings are kept.

    Args:
        folder: Where to write.
        config: What to simulate.
        count: How many trajectories.
        network: Whose lives; the shipped one by default.
        workers: Processes.
        per_shard: Trajectories per shard, a multiple of the block.
    """
    if count < 1 or per_shard % BLOCK:
        raise ConfigError(f"count = {count}, per_shard = {per_shard}: at least 1, and a multiple of {BLOCK}.")
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    document = None if network is None else network.config.model_dump(mode="json")
    settings = {"config": config.model_dump(mode="json"), "network": document, "per_shard": per_shard}
    before = json.loads((target / MANIFEST).read_text()) if (target / MANIFEST).is_file() else None
    if before is not None and before["settings"] != json.loads(json.dumps(settings)):
        raise ConfigError(f"{target} holds trajectories of other settings.", remedy="Choose another folder.")
    write_json(target / MANIFEST, {"settings": settings, "count": 0, "shards": {}})
    jobs = [
        (str(target), config.model_dump(mode="json"), document, start, min(per_shard, count - start))
        for start in range(0, count, per_shard)
    ]
    if workers == 1:
        written = [_write_shard(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers) as pool:
            written = list(pool.map(_write_shard, jobs))
    manifest = {
        "settings": settings,
        "count": count,
        "messages": sum(entry[2] for entry in written),
        "shards": {name: digest for name, digest, _ in written},
    }
    write_json(target / MANIFEST, manifest)
    return manifest


def _write_shard(job: tuple[str, dict[str, Any], dict[str, Any] | None, int, int]) -> tuple[str, str, int]:
    folder, config, network, start, count = job
    path = Path(folder) / f"trajectories-{start:09d}-{count}.jsonl"
    if not path.is_file():
        simulator = Simulator(SimulatorConfig(**config), Network(NetworkConfig(**network)) if network else None)
        scratch = path.with_suffix(".part")
        with scratch.open("w", encoding="utf-8") as stream:
            for trajectory in simulator.trajectories(count, start):
                stream.write(json.dumps(trajectory.to_document(), ensure_ascii=False, separators=(",", ":")) + "\n")
        scratch.replace(path)
    digest, messages = hashlib.sha256(), 0
    with path.open("rb") as lines:
        for line in lines:
            digest.update(line)
            messages += line.count(b'"noise":')
    return path.name, digest.hexdigest(), messages


def read_trajectories(path: str | Path) -> Iterator[Trajectory]:
    """Yield trajectories of a folder that :func:`write_shards` wrote, or of one of its shards.

    Raises:
        DataError: If there are none, or a line is not a trajectory; names file and line.
    """
    target = Path(path)
    shards = sorted(target.glob("trajectories-*.jsonl")) if target.is_dir() else [target]
    if not shards or not shards[0].is_file():
        raise DataError(f"{path} holds no trajectories.", remedy="Make some with: palate memory simulate --to FOLDER")
    for shard in shards:
        with shard.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    yield Trajectory.from_document(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise DataError(f"{shard.name}, line {number} is not a trajectory: {error!r}.") from None


def rewrite_shards(source: str | Path, folder: str | Path, rewriter: Rewriter) -> dict[str, Any]:
    """Write trajectories with their messages in other words, shard by shard, and return the manifest with the counts.

    Shards that are there already are kept; what a language model was asked twice is for its store of replies.

    Args:
        source: Folder of :func:`write_shards`.
        folder: Where to write, another folder.
        rewriter: Rewrites a trajectory; its counts become part of the manifest.
    """
    begin, target = Path(source), Path(folder)
    if begin.resolve() == target.resolve():
        raise ConfigError(f"{target} is the folder that is read.", remedy="Choose another folder to write to.")
    target.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, Any] = json.loads((begin / MANIFEST).read_text()) if (begin / MANIFEST).is_file() else {}
    shards = {}
    for shard in sorted(begin.glob("trajectories-*.jsonl")):
        path = target / shard.name
        if not path.is_file():
            scratch = path.with_suffix(".part")
            with scratch.open("w", encoding="utf-8") as stream:
                for trajectory in read_trajectories(shard):
                    document = rewriter(trajectory).to_document()
                    stream.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
            scratch.replace(path)
        shards[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if not shards:
        raise DataError(f"{source} holds no trajectories.", remedy="Make some with: palate memory simulate --to FOLDER")
    manifest |= {"shards": shards, "rewriting": dict(rewriter.counts)}
    write_json(target / MANIFEST, manifest)
    return manifest


def write_parquet(path: str | Path, trajectories: Iterable[Trajectory], *, batch: int = 1024) -> int:
    """Write trajectories as Parquet, a row each with nested messages, in bounded memory; return how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, texts = pa.string(), pa.list_(pa.string())
    message = pa.struct([(name, text) for name in ("id", "text", "time", "place", "noise")])
    schema = pa.schema(
        [(name, text) for name in ("id", "scenario", "type", "question", "key", "answer", "time", "program")]
        + [("options", texts), ("evidence", texts), ("messages", pa.list_(message))]
    )
    count, rows = 0, []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for trajectory in trajectories:
            rows.append(_row(trajectory))
            count += 1
            if len(rows) == batch:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return count


def _row(trajectory: Trajectory) -> dict[str, Any]:
    document = trajectory.to_document()
    question = document["question"]
    return {
        "id": trajectory.id,
        "scenario": trajectory.scenario,
        "type": question["type"],
        "question": question["text"],
        "options": question["options"],
        "key": LETTERS[question["key"]],
        "answer": trajectory.question.answer,
        "evidence": question["evidence"],
        "time": question["time"],
        "program": json.dumps(question["program"], ensure_ascii=False),
        "messages": [{k: v for k, v in message.items() if k != "fact"} for message in document["messages"]],
    }


def to_memdaily(trajectories: Iterable[Trajectory]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return trajectories in MemDaily's layout: type -> scenario -> trajectories; noise stands as bare text."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for trajectory in trajectories:
        question = trajectory.question
        group = found.setdefault(question.type, {}).setdefault(_SCENARIOS[trajectory.scenario], [])
        noisy = any(kind is not None for kind in trajectory.noise)
        messages: list[Any] = []
        for at, message in enumerate(trajectory.messages):
            if noisy:
                real = trajectory.noise[at] is None
                messages.append(
                    f"{message.text} (place {message.place}, time {message.time})" if real else message.text
                )
            else:
                entry = {"mid": int(message.id), "message": message.text, "time": message.time, "place": message.place}
                messages.append(entry)
        asked = {
            "qid": 0,
            "question": question.text,
            "answer": question.answer,
            "target_step_id": [int(id) for id in question.evidence],
            "choices": dict(zip(LETTERS, question.options, strict=True)),
            "ground_truth": LETTERS[question.key],
            "time": question.time,
        }
        group.append({"tid": len(group), "message_list": messages, "QA": asked})
    return found
