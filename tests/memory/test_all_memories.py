from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from palate.errors import DataError, MissingExtraError
from palate.memory.bm25 import BM25Config, BM25Index, BM25Memory
from palate.memory.contract import Message
from palate.memory.dense import DenseConfig, DenseMemory, reciprocal_rank_fusion
from palate.memory.encoding import CachedEncoder, hashed_words
from palate.memory.fact_store import FactStore, TemporalGraph
from palate.memory.fading import MemoryBankMemory, agent_score, retention
from palate.memory.near_vectors import NearVectors
from palate.memory.outside import OutsideMemory
from palate.memory.simulator import Simulator, SimulatorConfig
from palate.memory.summary import SummaryConfig, SummaryMemory
from palate.memory.vectors import VectorList
from palate.registry import find, names
from palate.testing.memories import check_memory, small_life

OUTSIDE = ("langmem", "mem0", "memengine")  # held to the contract by benchmarks/memory_contracts.py


@pytest.mark.parametrize("name", [name for name in names("memory") if name not in ("bm25s", *OUTSIDE)])
def test_every_memory_keeps_the_contract(name: str) -> None:
    report = check_memory(name)
    assert report.ran >= 11


class Borrowed(OutsideMemory):
    """A library of one list per user, to hold what the adapters share to the contract."""

    def _prepare(self) -> None:
        self.rows: dict[str, dict[int, np.ndarray]] = {}

    def _put(self, number: int, message: Message) -> int:
        self.rows.setdefault(message.user, {})[number] = self.vector(message.text)
        return number

    def _take(self, name: int, message: Message) -> None:
        del self.rows[message.user][name]

    def _find(self, query: str, k: int, user: str) -> dict[int, float]:
        found = {number: float(row @ self.vector(query)) for number, row in self.rows.get(user, {}).items()}
        return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:k])


def test_what_adapters_share_keeps_the_contract() -> None:
    assert check_memory(Borrowed).ran >= 11
    memory = Borrowed()
    memory.add(Message("a", " "))
    assert memory.rows == {}
    assert memory.delete("a")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_memory_of_another_library_names_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("mem0", "langmem", "langgraph.store.memory", "memengine"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"palate\[{name}\]"):
        find("memory", name).factory()


def test_bm25s_keeps_the_contract_or_names_its_extra() -> None:
    try:
        import bm25s  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(MissingExtraError, match=r"palate\[memory\]"):
            find("memory", "bm25s").factory()
    else:
        assert check_memory("bm25s").ran >= 11


def test_the_published_mechanisms_are_there() -> None:
    wanted = {"none", "noise", "oracle", "full", "recent", "bm25", "dense", "hybrid", "fact-store", "temporal-graph"}
    assert wanted <= set(names("memory"))


def test_bm25_by_hand() -> None:
    index = BM25Index(BM25Config(stem=False))
    index.add(0, "my boss is old")
    index.add(1, "my aunt is tall")
    assert index.scores("boss") == {0: pytest.approx(0.693147, abs=1e-6)}
    index.remove(0, "my boss is old")
    assert index.scores("boss") == {}
    assert index.scores("aunt")[1] > 0


def test_bm25_agrees_with_bm25s() -> None:
    pytest.importorskip("bm25s")
    from palate.memory.bm25 import BM25sMemory

    ours, theirs = BM25Memory(), BM25sMemory()
    for memory in (ours, theirs):
        memory.extend(small_life())
    for query in ("phone number of my boss", "long day number 3", "Madrid"):
        first, second = (memory.recall(query, 5, user="ann") for memory in (ours, theirs))
        assert [e.id for e in first] == [e.id for e in second]
        np.testing.assert_allclose([e.score for e in first], [e.score for e in second], rtol=1e-5)


def test_scores_by_hand() -> None:
    assert retention(10, 2) == pytest.approx(0.367879, abs=1e-6)
    assert agent_score(0.62, 40, 7) == pytest.approx(2.138320, abs=1e-6)
    assert reciprocal_rank_fusion([[1, 2], [3, 4, 1]])[1] == pytest.approx(0.032266, abs=1e-6)


def test_used_memories_fade_more_slowly() -> None:
    memory = MemoryBankMemory()
    memory.extend(
        [Message("old", "my boss is old", "2024-01-01T09:00"), Message("new", "my boss is old!", "2024-02-01T09:00")]
    )
    assert memory.recall("boss old", 1, time="2024-02-02T09:00")[0].id == "new"
    memory.remind([1] * 400)
    memory.extend([])
    scores = {e.id: e.score for e in memory.recall("boss old", 2, time="2024-05-02T09:00")}
    assert scores["old"] > scores["new"]


def test_vectors_equal_brute_force_after_removals() -> None:
    rng, vectors = np.random.default_rng(0), VectorList()
    rows = rng.normal(size=(300, 8)).astype(np.float32)
    for number, row in enumerate(rows):
        vectors.add(number, row)
    gone = set(rng.permutation(300)[:120].tolist())
    for number in gone:
        vectors.remove(number)
    query = rng.normal(size=8).astype(np.float32)
    best = sorted((n for n in range(300) if n not in gone), key=lambda n: -float(rows[n] @ query))[:7]
    assert list(vectors.best(query, 7)) == best
    assert set(vectors.scores(query)) == set(range(300)) - gone


def test_near_vectors_agree_with_exact_ones() -> None:
    rng, near, exact = np.random.default_rng(0), NearVectors(), VectorList()
    rows = rng.normal(size=(300, 8)).astype(np.float32)
    for number, row in enumerate(rows):
        near.add(number, row)
        exact.add(number, row)
    for number in rng.permutation(300)[:120].tolist():
        near.remove(number)
        exact.remove(number)
    query = rng.normal(size=8).astype(np.float32)
    assert list(near.best(query, 7)) == list(exact.best(query, 7))
    everything = near.scores(query)
    assert everything == pytest.approx(exact.scores(query), abs=1e-5)
    assert NearVectors().best(query, 3) == NearVectors().scores(query) == {}
    assert len(near.best(query, 500)) == 180


@pytest.mark.slow
def test_near_search_finds_98_percent_of_exact_search_in_100_000_vectors() -> None:
    simulator = Simulator(SimulatorConfig(seed=3, noise=9))
    texts = [m.text for t in simulator.trajectories(1500) for m in t.messages][:100_000]
    rows = hashed_words(texts) @ np.random.default_rng(0).normal(size=(512, 128)).astype(np.float32)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    near, exact = NearVectors(), VectorList()
    for number, row in enumerate(rows[:-200]):
        near.add(number, row)
        exact.add(number, row)
    hits = sum(len(set(near.best(q, 5)) & set(exact.best(q, 5))) for q in rows[-200:])
    assert hits / 1000 >= 0.98


def test_a_sentence_encoder_finds_by_meaning_and_keeps_its_vectors(tmp_path: Path) -> None:
    memory = DenseMemory(DenseConfig(encoder="minilm"), folder=tmp_path)
    memory.extend(small_life())
    asked = "Which board game does my manager enjoy?"
    assert memory.recall(asked, 1, user="ann")[0].id == "m3"
    assert DenseMemory(DenseConfig()).encoder is not memory.encoder
    before = memory.recall(asked, 5, user="ann")
    memory.delete("m4", user="ann")
    memory.close()
    again = DenseMemory(DenseConfig(encoder="minilm"), folder=tmp_path)
    assert again._stored is not None
    assert again._stored.made == 0
    assert len(again._stored) == 13  # twelve messages and the question
    kept = [evidence for evidence in before if evidence.id != "m4"]
    assert again.recall(asked, 5, user="ann")[: len(kept)] == kept
    again.close()


def test_the_contract_holds_with_a_graph_and_with_a_sentence_encoder() -> None:
    for name in ("dense", "hybrid"):
        assert check_memory(name, index="usearch", encoder="minilm").ran >= 11
    assert check_memory("memory-bank", index="usearch").ran >= 11


def test_a_spoiled_encoder_is_named() -> None:
    with pytest.raises(DataError, match="not finite"):
        CachedEncoder(lambda texts: np.full((len(texts), 3), np.nan, dtype=np.float32))(["a"])
    assert np.linalg.norm(hashed_words(["my boss", ""]), axis=1).tolist() == pytest.approx([1.0, 0.0])


def test_texts_are_encoded_once() -> None:
    calls: list[int] = []

    def count(texts: object) -> np.ndarray:
        calls.append(len(texts))  # type: ignore[arg-type]
        return hashed_words(texts)  # type: ignore[arg-type]

    encoder = CachedEncoder(count)  # type: ignore[arg-type]
    memory = DenseMemory(encoder=encoder)
    memory.extend(small_life())
    assert calls == [13]
    DenseMemory(encoder=encoder).extend(small_life("bob"))
    assert calls == [13]


def test_a_new_value_replaces_the_old_one() -> None:
    told = [
        Message("a", "My boss's hobby is chess.", "2024-01-01T09:00"),
        Message("b", "My boss's hobby is yoga.", "2024-02-01T09:00"),
        Message("c", "My aunt's hobby is chess.", "2024-02-02T09:00"),
    ]
    facts, graph = FactStore(), TemporalGraph()
    for memory in (facts, graph):
        memory.extend(told)
    question = "What is the hobby of my boss?"
    assert [e.id for e in facts.recall(question, 5)] == ["b", "c"]
    assert graph.recall(question, 5)[0].id == "b"
    assert "a" in [e.id for e in graph.recall(question, 5)]
    assert facts.delete("b")
    assert facts.recall(question, 5)[0].id == "a"


def test_a_summary_keeps_what_the_writer_keeps() -> None:
    seen: list[str] = []

    def writer(prompt: str) -> str:
        seen.append(prompt)
        return "My boss loves chess."

    memory = SummaryMemory(SummaryConfig(window=3), writer=writer)
    memory.extend(
        [Message("a", "My boss loves chess."), Message("b", "My aunt works in Madrid."), Message("c", "Rain.")]
    )
    assert len(seen) == 1
    assert "Madrid" in seen[0]
    assert [e.id for e in memory.recall("Madrid", 5)] == []
    assert memory.recall("chess", 5)[0].id == "a"

    def broken(prompt: str) -> str:
        raise OSError("no endpoint")

    memory = SummaryMemory(SummaryConfig(window=1), writer=broken)
    memory.add(Message("b", "My aunt works in Madrid."))
    assert memory.failed == 1
    assert memory.recall("Madrid", 5)[0].id == "b"


def test_a_folder_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "messages.sqlite").write_bytes(b"not a database, surely" * 100)
    with pytest.raises(DataError, match="not a log"):
        BM25Memory(folder=tmp_path)


def test_acknowledged_messages_survive_a_kill(tmp_path: Path) -> None:
    script = f"""
import sys
from palate.memory.bm25 import BM25Memory
from palate.memory.contract import Message
memory = BM25Memory(folder={str(tmp_path)!r})
for number in range(10**9):
    memory.add(Message(str(number), f"day number {{number}}"))
    print(number, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(200):
        child.stdout.readline()
    child.kill()
    acknowledged = 199 + len(child.stdout.read().split())
    child.wait()
    memory = BM25Memory(folder=tmp_path)
    assert len(memory) >= acknowledged
    assert memory.recall("day 150", 1)[0].id == "150"


def test_adding_costs_the_same_however_many_there_are() -> None:
    memory = DenseMemory()

    def seconds(start: int) -> float:
        begun = time.process_time()
        for number in range(start, start + 1500):
            memory.add(Message(str(number), f"the day {number % 97} is over"))
        return time.process_time() - begun

    seconds(0)
    early = seconds(1500)
    late = min(seconds(3000), seconds(4500))
    assert late < 4 * early
