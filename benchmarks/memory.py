"""Memories against bm25s, mem0 and MemEngine, and how quickly the simulator makes messages in how much memory.

    OMP_NUM_THREADS=1 python benchmarks/memory.py
    OMP_NUM_THREADS=1 python benchmarks/memory.py --smoke

An assistant's memory grows while it is asked: after every hundred messages a question comes. bm25s builds its index
anew each time, ours takes each message in as it comes. mem0 (``infer=False``, Qdrant on disk) and the long-term memory
of MemEngine (in the process) get the same messages, one by one, and the same vectors as ours, which keeps its log where
the other side keeps its own: encoders and language models are outside of what is timed. Both sides must find messages
that are equally near to the questions.
Writes ``results/benchmarks/memory.json``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import measure
from palate.memory.bm25 import BM25Config, BM25Index
from palate.memory.contract import Message
from palate.memory.dense import DenseMemory
from palate.memory.encoding import hashed_words
from palate.memory.simulator import Simulator, SimulatorConfig
from palate.memory.words import terms
from peers import Peer, peer_environment

BM25S = "bm25s==0.3.16"
MEM0 = "mem0ai==2.2.1"
MEMENGINE = "memengine==1.1.0"
ENVIRONMENTS: dict[str, tuple[list[str], list[str]]] = {
    "mem0": ([MEM0, "numpy==2.4.6"], []),
    "memengine": ([MEMENGINE, "langchain==0.3.27", "numpy==2.4.6"], ["torch==2.13.0"]),
}
STEP = 100
K = 5
RATE = 100_000


def log_of(count: int) -> tuple[list[str], list[str]]:
    """Return texts of ``count`` messages and a question per hundred of them."""
    trajectories = Simulator(SimulatorConfig(noise=9)).trajectories(count // 40 + 1)
    made = [(t.question.text, [m.text for m in t.messages]) for t in trajectories]
    texts = list(itertools.islice((text for _, told in made for text in told), count))
    questions = itertools.cycle(question for question, _ in made)
    return texts, list(itertools.islice(questions, len(texts) // STEP))


def growing(count: int, repeats: int) -> dict[str, Any]:
    """Ask BM25 while the log grows, ours and bm25s."""
    texts, questions = log_of(count)
    words = [terms(text) or [""] for text in texts]
    asked = [list(dict.fromkeys(terms(question))) for question in questions]
    with Peer(peer_environment("memory", [BM25S]), "memory_peer.py") as peer:
        peer.call("prepare", words=words, asked=asked, step=STEP, k=K)

        def theirs() -> measure.Timing:
            answer = peer.call("ask_all")
            return measure.Timing(answer["seconds"], answer["value"])

        measured = measure.alternate(lambda: _ask_while_growing(texts, questions), theirs, repeats=repeats)
    pairs = zip(measured.ours[0].result, measured.peer[0].result, strict=True)
    gap = max(abs(a - b) for mine, other in pairs for a, b in zip(mine, other, strict=False))
    if not gap < 1e-3:
        raise SystemExit(f"The best scores of the two sides differ by {gap}.")
    return measure.row(
        f"BM25 over a log that grows to {len(texts):,} messages, a question per {STEP}",
        measured,
        amount=len(texts),
        unit="messages/s",
        peer_name=BM25S.replace("==", " "),
        target=2.0,
        facts={"largest difference of a score": gap},
    )


def _ask_while_growing(texts: list[str], questions: list[str]) -> list[list[float]]:
    """Take in a hundred messages, ask, and so on; return the best scores."""
    index, found = BM25Index(BM25Config()), []
    for at, question in enumerate(questions):
        for number in range(at * STEP, (at + 1) * STEP):
            index.add(number, texts[number])
        found.append(sorted(index.scores(question).values(), reverse=True)[:K])
    return found


def against(name: str, package: str, sizes: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Add and recall beside a library of memories, at several lengths of the log."""
    packages, first = ENVIRONMENTS[name]
    rows = []
    with Peer(peer_environment(name, packages, first=first), "memory_peer.py") as peer:
        for size in sizes:
            rows += _beside(name, package, peer, size, repeats)
    return rows


def _beside(name: str, package: str, peer: Peer, size: int, repeats: int) -> list[dict[str, Any]]:
    texts, questions = log_of(max(size, 50 * STEP))
    texts, questions = list(dict.fromkeys(texts))[:size], list(dict.fromkeys(questions))[:50]
    vectors = hashed_words([*texts, *questions])
    file = Path(tempfile.mkdtemp(prefix="palate-memory-")) / "vectors.npz"
    np.savez(file, vectors=vectors)
    peer.call("take", texts=texts, questions=questions, vectors=str(file), k=K)
    durable = name != "memengine"  # which keeps nothing on disk
    ours = _Ours(texts, questions, vectors, durable=durable)

    def fill_theirs() -> measure.Timing:
        peer.call("forget")
        return measure.Timing(peer.call(f"fill_{name}")["value"], None)

    def ask_theirs() -> measure.Timing:
        answer = peer.call(f"ask_{name}")["value"]
        return measure.Timing(answer["seconds"], answer["found"])

    added = measure.alternate(ours.fill, fill_theirs, repeats=repeats)
    asked = measure.alternate(ours.ask, ask_theirs, repeats=repeats)
    peer.call("forget")
    ours.close()
    shutil.rmtree(file.parent)
    near = {side: _nearness(vectors, len(texts), runs[0].result) for side, runs in asked.__dict__.items()}
    if min(near.values()) < 0.98:
        raise SystemExit(f"Share of the nearest messages that were found: {near}; both must reach 0.98.")
    facts = {"share of the nearest found": near, "kept on disk": durable}
    about = f"{size:,} messages"
    return [
        measure.row(
            f"add {about}, one by one",
            added,
            amount=size,
            unit="messages/s",
            peer_name=package,
            target=2.0,
            facts=facts,
        ),
        measure.row(
            f"recall {K} of {about}",
            asked,
            amount=len(questions),
            unit="questions/s",
            peer_name=package,
            target=2.0,
            facts=facts,
        ),
    ]


class _Ours:
    """Our memory with vectors, and a log on disk or in this process."""

    def __init__(self, texts: list[str], questions: list[str], vectors: np.ndarray[Any, Any], *, durable: bool) -> None:
        self.durable = durable
        self.questions = questions
        self.messages = [Message(str(at), text, user="ann") for at, text in enumerate(texts)]
        self._vectors = dict(zip([*texts, *questions], vectors, strict=True))
        self._memory: DenseMemory | None = None

    def fill(self) -> measure.Timing:
        """Add all messages to an empty memory, one by one."""
        self.close()
        folder = tempfile.mkdtemp(prefix="palate-memory-") if self.durable else None
        memory = self._memory = DenseMemory(folder=folder, encoder=lambda t: np.stack([self._vectors[x] for x in t]))
        begun = time.perf_counter()
        for message in self.messages:
            memory.add(message)
        return measure.Timing(time.perf_counter() - begun, None)

    def ask(self) -> measure.Timing:
        """Ask all questions."""
        assert self._memory is not None
        begun = time.perf_counter()
        answers = [self._memory.recall(question, K, user="ann") for question in self.questions]
        seconds = time.perf_counter() - begun
        return measure.Timing(seconds, [[int(evidence.id) for evidence in answer] for answer in answers])

    def close(self) -> None:
        """Drop the memory and its files."""
        if self._memory is not None:
            self._memory.close()
            if self._memory.folder is not None:
                shutil.rmtree(self._memory.folder)
            self._memory = None


def _nearness(vectors: np.ndarray[Any, Any], count: int, found: list[list[int]]) -> float:
    """Return the share of found messages that are no farther than the ``K``-th nearest."""
    cosines = vectors[count:] @ vectors[:count].T
    bounds = np.sort(cosines, axis=1)[:, -K]
    hits = [cosines[at, place] >= bounds[at] - 1e-4 for at, places in enumerate(found) for place in places]
    return float(np.sum(hits)) / (K * len(found))


def generation(counts: Sequence[int]) -> dict[str, Any]:
    """Make the longest stream of ``counts`` once and note rate and memory at each of them."""
    simulator = Simulator(SimulatorConfig(noise=9, seed=1))
    simulator.trajectory(0)
    waiting, used, made, begun = list(counts), {}, 0, time.process_time()
    rates: list[float] = []
    last = (0, begun)
    for number in itertools.count():
        made += len(simulator.trajectory(number).messages)
        if made - last[0] >= 100_000 or made >= waiting[0]:
            now = time.process_time()
            rates.append((made - last[0]) / (now - last[1]))
            last = (made, now)
        if made >= waiting[0]:
            used[f"{waiting.pop(0):,} messages"] = round(_resident(), 1)
            if not waiting:
                break
    rate = made / (time.process_time() - begun)
    spread = {"median": float(np.median(rates)) / RATE, "min": min(rates) / RATE, "max": max(rates) / RATE}
    return {
        "what": f"{counts[-1]:,} messages made with all checks, nine of noise per real one",
        "unit": "messages per core second",
        "ours": rate,
        "peer": RATE,
        "peer_name": "the aim",
        "ratio": spread,
        "repeats": len(rates),
        "target": 1.0,
        "met": rate >= RATE,
        "resident MB": used,
    }


def _resident() -> float:
    """Return the memory that this process holds now, in MB (NaN where the system does not tell)."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if told.is_file() else float("nan")


def main() -> None:
    """Run all comparisons in turns and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="small sizes, and the result goes to a temporary folder")
    smoke = parser.parse_args().smoke
    repeats = 1 if smoke else 3
    sizes = (100,) if smoke else (500, 2000)
    jobs: list[Callable[[], list[dict[str, Any]]]] = [
        lambda: [generation((10_000, 20_000) if smoke else (10_000, 100_000, 1_000_000, 10_000_000))],
        lambda: [growing(500 if smoke else 10_000, 1 if smoke else 5)],
        lambda: against("mem0", MEM0.replace("==", " ") + ", infer=False", sizes, repeats),
        lambda: against("memengine", MEMENGINE.replace("==", " ") + ", LTMemory", sizes, repeats),
    ]
    rows = [row for job in jobs for row in job()]
    folder = Path(tempfile.mkdtemp(prefix="palate-memory-")) if smoke else measure.RESULTS
    measure.write("memory", rows, folder=folder)


if __name__ == "__main__":
    main()
