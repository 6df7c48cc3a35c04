"""When a question may be asked: its key follows from what was said, and from nothing less."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from palate.memory.programs import Answer, Fact, Facts, Program, Unsolved

__all__ = ["is_sound", "table"]


def table(facts: Iterable[Fact]) -> dict[tuple[str, str], str | int]:
    """Return facts as a table; of two statements about the same thing the later one counts."""
    return {(fact.entity, fact.attribute): fact.value for fact in facts}


def is_sound(
    program: Program,
    stated: Facts,
    evidence: Sequence[tuple[str, str]],
    profile: Facts,
    earlier: Facts | None = None,
) -> Answer | None:
    """Return the one answer of a program, or ``None`` if the question must not be asked.

    The answer over all that was stated equals the one over the life, the evidence alone gives it, and without any one
    piece of the evidence nothing stated gives it.

    Args:
        program: The question.
        stated: Everything that the messages state, noise included.
        evidence: Keys of the facts that prove the answer.
        profile: What is true in the life, for the attributes that the program uses.
        earlier: Outdated values, which would count again if a piece of evidence were missing.
    """
    answer = program.solve(stated)
    if isinstance(answer, Unsolved) or program.solve(profile) != answer:
        return None
    alone = {key: stated[key] for key in evidence}
    if program.solve(alone) != answer:
        return None
    for key in evidence:
        rest = dict(stated)
        if earlier and key in earlier:
            rest[key] = earlier[key]
        else:
            del rest[key]
        if program.solve(rest) == answer:
            return None
    return answer
