"""Optional rewriting by a language model, accepted only if every fact survives and none is added."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace

from palate.memory.contract import Writer
from palate.memory.grammar import Grammar
from palate.memory.programs import Fact
from palate.memory.trajectory import Trajectory
from palate.memory.values import read_value

__all__ = ["REWRITE_PROMPT", "Rewriter", "why_refused"]

REWRITE_PROMPT = "Say this in other words, as in a chat. Keep every name, number and fact; add nothing.\n\n{text}"
_NEGATION = re.compile(r"\b(?:not|no|never|none|neither|nor|without|hardly)\b|n't\b|[不没未无别]", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.:-]\d+)*")


def why_refused(text: str, rewritten: str, fact: Fact, grammar: Grammar, *, said: str = "") -> str:
    """Return why a rewrite must not replace ``text``, or an empty string if it may.

    It must state the value and the entity, no other value of any word list and no other number, and as many negations;
    its length must be between 0.4 and 3 times the length before.
    """
    folded, before = rewritten.lower(), text.lower()
    if not 0.4 <= len(rewritten) / max(1, len(text)) <= 3:
        return "length"
    if not _holds(folded, grammar.mention(fact.entity).lower()):
        return "entity"
    if not any(_holds(folded, form.lower()) for form in _forms(text, fact, grammar, said)):
        return "value"
    if len(_NEGATION.findall(folded)) != len(_NEGATION.findall(before)):
        return "negation"
    added = Counter(_NUMBER.findall(folded)) - Counter(_NUMBER.findall(before))
    allowed = {number for form in _forms(text, fact, grammar, said) for number in _NUMBER.findall(form)}
    if any(number not in allowed for number in added):
        return "number"
    for word in _lexicon_words(grammar):
        if _holds(folded, word) and not _holds(before, word):
            return "another value"
    return ""


@dataclass
class Rewriter:
    """Rewrites the real messages of trajectories; counts what was accepted, and why not.

    Args:
        writer: The model.
        grammar: Of the trajectories' language.
        retries: Further tries after a refusal; then the text stays as it is.
    """

    writer: Writer
    grammar: Grammar
    retries: int = 3
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Return the trajectory with its real messages in other words; question, options and key stay."""
        messages = list(trajectory.messages)
        for at, message in enumerate(messages):
            fact = trajectory.facts[at] if trajectory.facts else None
            if fact is not None and trajectory.noise[at] is None:
                messages[at] = message._replace(text=self._rewrite(message.text, fact, message.time))
        return replace(trajectory, messages=tuple(messages))

    def _rewrite(self, text: str, fact: Fact, said: str) -> str:
        for _ in range(1 + self.retries):
            try:
                rewritten = self.writer(REWRITE_PROMPT.format(text=text)).strip()
            except Exception:  # any endpoint may fail in any way; the text then stays as it is
                self.counts["failed"] += 1
                continue
            reason = why_refused(text, rewritten, fact, self.grammar, said=said)
            self.counts[f"refused: {reason}" if reason else "accepted"] += 1
            if not reason:
                return rewritten
        self.counts["kept as it was"] += 1
        return text


def _forms(text: str, fact: Fact, grammar: Grammar, said: str) -> list[str]:
    """Return the ways in which the value may be written; a relative time only as it was said."""
    if fact.attribute == "time":
        found = [grammar.shown("time", fact.value, 0, code=code) for code in range(42)]
        relative = [f for f in found if f in text and read_value(grammar, "time", f, said) == fact.value]
        return relative or [grammar.shown("time", fact.value, form) for form in (0, 1)]
    return [grammar.shown(fact.attribute, fact.value, form) for form in (0, 1)]


def _lexicon_words(grammar: Grammar) -> list[str]:
    return [form.lower() for word in grammar.words if len(form := grammar.text_of(word)) > 1]


def _holds(text: str, phrase: str) -> bool:
    if re.search(r"[\u4e00-\u9fff]", phrase):
        return phrase in text
    return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", text) is not None
