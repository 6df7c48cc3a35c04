"""Turn what docstrings write for every reader into what the reference pages show best."""

import re
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?(?:[\w.]*\.)?(\w+)`")
MATH = re.compile(r"^( *)\.\. math::(.*?)(?=\n\s*\n(?!\1 {4})|\Z)", re.DOTALL | re.MULTILINE)


class Examples(griffe.Extension):
    """Show ``Example:`` as doctests, equations as blocks, and roles as names."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite every docstring."""
        if obj.docstring is not None:
            text = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
            text = ROLE.sub(r"`\1`", text)
            obj.docstring.value = MATH.sub(_block, text)


def _block(match: re.Match[str]) -> str:
    equation = textwrap.dedent(match[2].strip("\n")).strip()
    if r"\\" in equation and r"\begin" not in equation:  # several lines, as Sphinx takes them
        equation = rf"\begin{{aligned}} {equation} \end{{aligned}}"
    # MathML on one line: every browser draws it, without a script and without network.
    drawn = " ".join(convert(equation, display="block").split())
    return textwrap.indent(f'<div class="equation">{drawn}</div>', match[1])
