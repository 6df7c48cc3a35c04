"""Memories against bm25s: the same log, the same questions, the same messages found.

    OMP_NUM_THREADS=1 python benchmarks/memory.py
    OMP_NUM_THREADS=1 python benchmarks/memory.py --messages 500 --smoke

An assistant's memory grows while it is asked: after every hundred messages a question comes. bm25s builds its index
anew each time, ours takes each message in as it comes. Writes ``results/benchmarks/memory.json``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import measure
from palate.memory.bm25 import BM25Config, BM25Index
from palate.memory.simulator import Simulator, SimulatorConfig
from palate.memory.words import terms
from peers import Peer, peer_environment

PEER = "bm25s==0.3.16"
STEP = 100
K = 5


def log_of(count: int) -> tuple[list[str], list[str]]:
    """Return texts of ``count`` messages and a question per hundred of them."""
    trajectories = Simulator(SimulatorConfig(noise=9)).trajectories(count // 40 + 1)
    made = [(t.question.text, [m.text for m in t.messages]) for t in trajectories]
    texts = list(itertools.islice((text for _, told in made for text in told), count))
    questions = itertools.cycle(question for question, _ in made)
    return texts, list(itertools.islice(questions, len(texts) // STEP))


def ours(texts: list[str], questions: list[str]) -> list[list[float]]:
    """Take in a hundred messages, ask, and so on; return the best scores."""
    index, found = BM25Index(BM25Config()), []
    for at, question in enumerate(questions):
        for number in range(at * STEP, (at + 1) * STEP):
            index.add(number, texts[number])
        found.append(sorted(index.scores(question).values(), reverse=True)[:K])
    return found


def main() -> None:
    """Run both sides in turns and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="length of the log")
    parser.add_argument("--smoke", action="store_true", help="write the result to a temporary folder")
    options = parser.parse_args()
    texts, questions = log_of(options.messages)
    words = [terms(text) or [""] for text in texts]
    asked = [list(dict.fromkeys(terms(question))) for question in questions]
    with Peer(peer_environment("memory", [PEER]), "memory_peer.py") as peer:
        peer.call("prepare", words=words, asked=asked, step=STEP, k=K)

        def theirs() -> measure.Timing:
            answer = peer.call("ask_all")
            return measure.Timing(answer["seconds"], answer["value"])

        work: Callable[[], object] = lambda: ours(texts, questions)  # noqa: E731
        measured = measure.alternate(work, theirs, repeats=1 if options.smoke else 5)
    pairs = zip(measured.ours[0].result, measured.peer[0].result, strict=True)
    gap = max(abs(a - b) for mine, other in pairs for a, b in zip(mine, other, strict=False))
    if not gap < 1e-3:
        raise SystemExit(f"The best scores of the two sides differ by {gap}.")
    row = measure.row(
        f"a log of {len(texts):,} messages, a question per {STEP}",
        measured,
        amount=len(texts),
        unit="messages/s",
        peer_name=PEER.replace("==", " "),
        target=2.0,
        facts={
            "largest difference": gap,
            "threads": os.environ.get("OMP_NUM_THREADS", "default"),
            "python": sys.version[:6],
        },
    )
    folder = Path(tempfile.mkdtemp(prefix="palate-memory-")) if options.smoke else measure.RESULTS
    measure.write("memory", [row], folder=folder)


if __name__ == "__main__":
    main()
