"""Text to index terms: lower case, a light plural and -ing stemmer, and character pairs for Chinese."""

from __future__ import annotations

import re

__all__ = ["terms"]

_TOKEN = re.compile(r"[a-z0-9]+(?:[.@:-][a-z0-9]+)*|[\u4e00-\u9fff]+")


def terms(text: str, *, stem: bool = True) -> list[str]:
    """Return the index terms of a text, in order.

    Example:
        >>> terms("My aunt's hobbies: baking bread!")
        ['my', 'aunt', 'hobby', 'bak', 'bread']
    """
    found: list[str] = []
    for token in _TOKEN.findall(text.lower().replace("'s", "")):
        if "\u4e00" <= token[0] <= "\u9fff":
            found += [token[at : at + 2] for at in range(max(1, len(token) - 1))]
        else:
            found.append(_stem(token) if stem else token)
    return found


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 5 and word.endswith("ing"):
        return word[:-3]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
