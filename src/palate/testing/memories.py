"""The laws of a memory: what goes in can be found, is kept, can be deleted, and never reaches another user."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from palate.config import SIZES
from palate.errors import ConfigError, DataError
from palate.memory.contract import Evidence, Memory, Message
from palate.registry import find
from palate.testing.battery import Battery, BatteryReport, NotApplicable, refuses

__all__ = ["MEMORY_LAWS", "MemoryCase", "check_memory", "small_life"]

QUESTION = "What is the phone number of my boss?"


def small_life(user: str = "ann") -> list[Message]:
    """Return thirteen messages of one user; the third tells the phone number of the boss."""
    texts = [
        "This morning the bus made me smile.",
        "My aunt works in Madrid.",
        "My boss's phone number is 000-555-123456.",
        "My boss loves chess.",
        "The Amber Festival takes place in Lyon.",
        *(f"At long last day number {day} is over." for day in range(8)),
    ]
    return [Message(f"m{at}", text, f"2024-04-{at + 1:02d}T09:00", "Lyon", user) for at, text in enumerate(texts)]


@dataclass(frozen=True)
class MemoryCase:
    """What the laws run on: a way to build the memory, and its class."""

    build: Callable[[Path | None], Memory]
    factory: type[Memory]

    def filled(self, folder: Path | None = None) -> Memory:
        """Return a memory that holds the small life."""
        memory = self.build(folder)
        memory.extend(small_life())
        memory.reveal(["m2"], user="ann")
        return memory

    def ask(self, memory: Memory, k: int = 5, user: str = "ann") -> list[Evidence]:
        """Ask for the phone number."""
        return memory.recall(QUESTION, k, user=user, time="2024-05-01T09:00")


MEMORY_LAWS = Battery[MemoryCase]("memory")


def check_memory(memory: str | type[Memory], **settings: Any) -> BatteryReport:
    """Run the laws of a memory on a registered name or a class; raise with all that are broken.

    Example:
        >>> print(check_memory("bm25"))  # doctest: +ELLIPSIS
        bm25: ... laws hold, 0 broken
    """
    known = isinstance(memory, str)
    factory = cast("type[Memory]", find("memory", str(memory)).factory if known else memory)

    def build(folder: Path | None) -> Memory:
        return factory(factory.Config.sized("tiny", **settings), folder=folder)

    return MEMORY_LAWS.require(MemoryCase(build, factory), str(memory) if known else factory.__name__)


@MEMORY_LAWS.law
def sizes_are_valid_and_an_unknown_setting_is_refused(case: MemoryCase) -> None:
    for size in SIZES:
        config = case.factory.Config.sized(size)
        assert case.factory.Config.model_validate_json(config.model_dump_json()) == config
    settings: dict[str, Any] = {"no_such_setting": 1}
    refuses(ConfigError, "no_such_setting", lambda: case.factory.Config(**settings))


@MEMORY_LAWS.law
def an_empty_memory_recalls_nothing(case: MemoryCase) -> None:
    memory = case.build(None)
    assert len(memory) == 0
    assert case.ask(memory) == []


@MEMORY_LAWS.law
def recalled_messages_are_those_that_were_said_each_once(case: MemoryCase) -> None:
    said = {message.id: message for message in small_life()}
    for k in (1, 5, 100):
        recalled = case.ask(case.filled(), k)
        assert len({evidence.id for evidence in recalled}) == len(recalled)
        for evidence in recalled:
            assert (evidence.text, evidence.time) == (said[evidence.id].text, said[evidence.id].time)


@MEMORY_LAWS.law
def at_most_k_are_recalled_and_the_best_come_first(case: MemoryCase) -> None:
    memory = case.filled()
    recalled = case.ask(memory, 2)
    if case.factory.order == "time":
        times = [evidence.time for evidence in recalled]
        assert times == sorted(times)
    else:
        scores = [evidence.score for evidence in recalled]
        assert len(recalled) <= 2
        assert scores == sorted(scores, reverse=True)
    refuses(ConfigError, "k = 0", lambda: case.ask(memory, 0))


@MEMORY_LAWS.law
def what_was_asked_for_is_found(case: MemoryCase) -> None:
    found = [evidence.id for evidence in case.ask(case.filled(), 5)]
    if "m2" not in found and case.factory.__name__ in ("NoMemory", "NoiseMemory", "RecentMemory"):
        raise NotApplicable("it recalls without looking at the question")
    assert "m2" in found, f"only {found} were recalled"


@MEMORY_LAWS.law
def adding_again_changes_nothing_and_a_changed_text_is_refused(case: MemoryCase) -> None:
    memory = case.filled()
    before = case.ask(memory)
    for message in small_life():
        memory.add(message)
    memory.extend(small_life())
    assert len(memory) == len(small_life())
    assert case.ask(memory) == before
    refuses(DataError, '"m2"', lambda: memory.add(Message("m2", "Something else.", user="ann")))
    refuses(DataError, '"m2"', lambda: memory.extend([Message("new", "x", user="ann"), Message("m2", "y", user="ann")]))
    assert len(memory) == len(small_life()), "a refused batch was kept in part"
    assert case.ask(memory) == before


@MEMORY_LAWS.law
def one_by_one_equals_all_at_once(case: MemoryCase) -> None:
    single = case.build(None)
    for message in small_life():
        single.add(message)
    single.reveal(["m2"], user="ann")
    first, second = case.ask(single), case.ask(case.filled())
    # A neural encoder rounds differently in batches of different size.
    assert [replace(evidence, score=0.0) for evidence in first] == [replace(evidence, score=0.0) for evidence in second]
    assert all(math.isclose(a.score, b.score, abs_tol=1e-5) for a, b in zip(first, second, strict=True))


@MEMORY_LAWS.law
def a_deleted_message_is_gone_and_the_rest_stays(case: MemoryCase) -> None:
    memory = case.filled()
    assert memory.delete("m2", user="ann")
    assert not memory.delete("m2", user="ann")
    assert not memory.delete("m3", user="bob")
    assert len(memory) == len(small_life()) - 1
    assert "m2" not in [evidence.id for evidence in case.ask(memory, 100)]
    memory.add(small_life()[2])
    assert len(memory) == len(small_life())


@MEMORY_LAWS.law
def users_never_see_one_another(case: MemoryCase) -> None:
    memory = case.filled()
    before = case.ask(memory)
    memory.extend(Message(m.id, m.text.replace("123456", "999999"), m.time, m.place, "bob") for m in small_life())
    memory.reveal(["m2"], user="bob")
    assert case.ask(memory) == before
    assert all("123456" not in evidence.text for evidence in case.ask(memory, 100, user="bob"))
    assert case.ask(memory, user="nobody") == []


@MEMORY_LAWS.law
def recalling_changes_nothing(case: MemoryCase) -> None:
    memory = case.filled()
    assert case.ask(memory) == case.ask(memory)


@MEMORY_LAWS.law
def a_memory_opened_again_recalls_the_same(case: MemoryCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory = case.filled(Path(folder) / "memory")
        memory.delete("m4", user="ann")
        before = case.ask(memory)
        memory.close()
        again = case.build(Path(folder) / "memory")
        again.reveal(["m2"], user="ann")
        assert len(again) == len(small_life()) - 1
        assert case.ask(again) == before
        again.close()


@MEMORY_LAWS.law
def odd_texts_have_a_defined_answer(case: MemoryCase) -> None:
    memory = case.build(None)
    for at, text in enumerate(["", "   ", "'; DROP TABLE messages; --", "🙂" * 50, "x" * 20_000, "我的上司"]):
        memory.add(Message(f"odd{at}", text))
    for query in ("", "?", "我的上司", "' OR 1=1"):
        assert len(memory.recall(query, 3)) <= 6
    assert len(memory) == 6
