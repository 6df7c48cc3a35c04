"""A reader without understanding: it takes the option that the fitting messages repeat."""

from __future__ import annotations

from collections.abc import Sequence

from palate.memory.answering import Reader, Reply
from palate.memory.contract import Evidence
from palate.memory.encoding import hashed_words
from palate.memory.words import terms
from palate.registry import register

__all__ = ["LexicalReader"]


@register("memory-reader", "lexical")
class LexicalReader(Reader):
    """Weighs each message by its likeness to the question, and each option by the words it shares with messages.

    It always chooses; without any recalled message it takes the first option, which is right in one of four.
    """

    model = "lexical-1"

    def answer(self, question: str, options: Sequence[str], recalled: Sequence[Evidence], *, time: str = "") -> Reply:
        """Return the option with the largest weighted overlap; of equal ones the first."""
        length = len(question) + sum(len(evidence.text) for evidence in recalled)
        if not recalled:
            return Reply(0, prompt_length=length)
        vectors = hashed_words([question, *(evidence.text for evidence in recalled)])
        fit = vectors[1:] @ vectors[0]
        said = [set(terms(evidence.text)) for evidence in recalled]
        scores = []
        for option in options:
            words = set(terms(option))
            share = [len(words & told) / max(1, len(words)) for told in said]
            scores.append(
                max(float(weight) + 2 * part if part else 0.0 for weight, part in zip(fit, share, strict=True))
            )
        return Reply(scores.index(max(scores)), prompt_length=length)
