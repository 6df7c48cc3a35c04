from __future__ import annotations

import re
import tomllib
from pathlib import Path

from palate.cli.doctor import _ABILITIES as ABILITIES
from palate.cli.doctor import examine

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOR_DEVELOPERS = {"docs", "test", "check", "all"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}


def test_every_extra_is_an_ability_with_the_packages_that_it_brings() -> None:
    extras = PROJECT["optional-dependencies"]
    told = {extra: set(packages) for extra, packages in ABILITIES.values() if extra}
    assert told == {extra: names(extras[extra]) for extra in extras if extra not in FOR_DEVELOPERS}
    assert (
        {"torch", "numpy", "scipy"}
        <= set(ABILITIES["train, evaluate, calibrate, save"][1])
        <= names(PROJECT["dependencies"])
    )


def test_what_is_missing_comes_with_the_command_that_brings_it() -> None:
    for ability in examine()["abilities"]:
        assert ability["ready"] == (not ability["missing"])
        if ability["missing"]:
            extra = ABILITIES[ability["what"]][0]
            assert ability["remedy"].startswith(f"pip install 'palate[{extra}]'")
