from __future__ import annotations

import pytest
from rich.table import Table

from palate.cli.output import finish


def test_titles_are_text_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    titles = ["[rec] the film", "[/end] [bold]loud[/bold]", ":fire: of love", "pip install 'palate[trackers]'"]
    table = Table(box=None)
    for title in titles:
        table.add_row(title)
    finish({}, table, *titles, machine=False)
    printed = capsys.readouterr().out
    for title in titles:
        assert printed.count(title) == 2


def test_a_machine_gets_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    finish({"title": "[rec]"}, "for people", machine=True)
    assert capsys.readouterr().out == '{\n "title": "[rec]"\n}\n'
