"""Memories that keep facts instead of sentences: the latest value of everything, or every value with its span."""

from __future__ import annotations

from palate.memory.bm25 import BM25Config, BM25Index
from palate.memory.contract import Evidence, Message
from palate.memory.extraction import extract, relation_in, subjects_in
from palate.memory.logged import LoggedMemory, top
from palate.registry import register

__all__ = ["FactStore", "TemporalGraph"]

_FACTS = """
CREATE TABLE IF NOT EXISTS facts (
    number INTEGER PRIMARY KEY, user TEXT NOT NULL, subject TEXT NOT NULL, relation TEXT NOT NULL,
    valid_from TEXT NOT NULL, valid_to TEXT)
"""
_BY_SUBJECT = "CREATE INDEX IF NOT EXISTS facts_by_subject ON facts (user, subject, relation)"
_SUBJECT_WEIGHT, _RELATION_WEIGHT = 4.0, 2.0


class _Facts(LoggedMemory):
    """Facts with their source messages beside the log, and BM25 for what no fact was found in."""

    closed = True  # whether a fact that another has replaced is left out

    def _prepare(self) -> None:
        self._words: dict[str, BM25Index] = {}
        # Facts are made of messages: they are made anew when a folder is opened, so that both can never disagree.
        self.log.connection.execute("DROP TABLE IF EXISTS facts")
        self.log.connection.execute(_FACTS)
        self.log.connection.execute(_BY_SUBJECT)

    def _index(self, number: int, message: Message) -> None:
        self._words.setdefault(message.user, BM25Index(BM25Config())).add(number, message.text)
        statement = extract(message.text, message.time)
        if statement is None:
            return
        key = (message.user, statement.subject, statement.relation)
        self.log.connection.execute(
            "UPDATE facts SET valid_to = ? WHERE user = ? AND subject = ? AND relation = ? AND valid_to IS NULL",
            (message.time, *key),
        )
        self.log.connection.execute("INSERT INTO facts VALUES (?, ?, ?, ?, ?, NULL)", (number, *key, message.time))

    def _forget(self, number: int, message: Message) -> None:
        self._words[message.user].remove(number, message.text)
        run = self.log.connection.execute
        gone = run("SELECT user, subject, relation FROM facts WHERE number = ?", (number,)).fetchone()
        run("DELETE FROM facts WHERE number = ?", (number,))
        if gone is not None:
            # What it had replaced counts again, unless something newer replaced both.
            run(
                "UPDATE facts SET valid_to = NULL WHERE number = (SELECT MAX(number) FROM facts "
                "WHERE user = ? AND subject = ? AND relation = ?)",
                gone,
            )

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        index = self._words.get(user)
        if index is None:
            return []
        subjects = subjects_in(query)
        relations = {relation_in(query, person=person) for person in (True, False)} - {None}
        scores = index.scores(query)
        best = max(scores.values(), default=1.0) or 1.0
        scores = {number: score / best for number, score in scores.items()}
        for number, subject, relation, valid_to in self.log.connection.execute(
            "SELECT number, subject, relation, valid_to FROM facts WHERE user = ?", (user,)
        ):
            if valid_to is not None and self.closed:
                scores.pop(number, None)
                continue
            bonus = _SUBJECT_WEIGHT * (subject in subjects) + _RELATION_WEIGHT * (relation in relations)
            if bonus:
                scores[number] = scores.get(number, 0.0) + bonus - 0.5 * (valid_to is not None)
        return top(scores, k, self.log)


@register("memory", "fact-store", source="after mem0, arXiv 2504.19413")
class FactStore(_Facts):
    """Subject, relation and source message of every fact; a new value replaces the old one, which is recalled no more.

    Deleting the newer message brings the older value back.
    """


@register("memory", "temporal-graph", source="after Zep, arXiv 2501.13956")
class TemporalGraph(_Facts):
    """Facts as edges with the span in which they held: a new value closes the old edge, which stays recallable.

    Messages one step further are recalled as well: a description ("the person whose hobby is chess") is followed from
    the message that states it to the other facts about its subject.
    """

    closed = False

    def _search(self, query: str, k: int, user: str, time: str) -> list[Evidence]:
        first = super()._search(query, max(k, 10), user, time)
        scores = {evidence.id: evidence for evidence in first}
        relations = {relation_in(query, person=person) for person in (True, False)} - {None}
        found: dict[int, float] = {}
        for rank, evidence in enumerate(first):
            row = self.log.connection.execute(
                "SELECT number FROM messages WHERE user = ? AND id = ?", (user, evidence.id)
            ).fetchone()
            found[row[0]] = evidence.score
            statement = extract(evidence.text, evidence.time)
            if statement is None or rank >= 3:
                continue
            for number, relation in self.log.connection.execute(
                "SELECT number, relation FROM facts WHERE user = ? AND subject = ? AND valid_to IS NULL",
                (user, statement.subject),
            ):
                if relation in relations:
                    found[number] = max(found.get(number, 0.0), evidence.score + 1.0 / (1 + rank))
        return top(found, k, self.log) if scores else []
