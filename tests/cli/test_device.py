"""``palate device`` end to end: export, a session, and a cloud that comes and goes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from palate.cli.app import run
from palate.testing.recommenders import small_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device")
    small_log().save(folder / "log")
    words = ["fit", str(folder / "log"), "cocorrrec", "--train", "epochs=1", "--out", str(folder / "run")]
    assert run(words) == 0
    assert run(["device", "export", str(folder / "run"), "--out", str(folder / "export")]) == 0
    return folder


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_session_shows_what_every_click_moves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["device", "run", str(folder / "export"), "--click", "Film 1", "--click", "2", "-k", "3"]
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert "Before the first click" in shown
    assert "1. Film 1" in shown
    assert "2 clicks, 0 of them corrected; the cloud: not asked." in shown
    assert run([*words, "--json"]) == 0
    document = told(capsys)
    assert [turn["clicked"] for turn in document["turns"]] == [None, "Film 1", "Film 2"]
    assert [len(turn["list"]) for turn in document["turns"]] == [3, 3, 3]
    clicked = {1, 2}
    assert not clicked & {place["item"] for place in document["turns"][2]["list"]}
    first, second = ([place["item"] for place in turn["list"]] for turn in document["turns"][1:])
    for place in document["turns"][2]["list"]:
        assert place["before"] == (first.index(place["item"]) + 1 if place["item"] in first else None)
    assert {item for item in first if item not in second} == set(document["turns"][2]["gone"])


def test_a_session_goes_on_where_the_last_one_ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["device", "run", str(folder / "export"), "--states", str(folder / "states"), "--json"]
    assert run([*words, "--click", "Film 1"]) == 0
    last = told(capsys)["turns"][-1]
    assert run([*words, "--click", "Film 2"]) == 0
    begun = told(capsys)["turns"][0]
    assert [place["item"] for place in begun["list"]] == [place["item"] for place in last["list"]]
    assert begun["seen"] == 1
    assert run([*words, "--user", "somebody else", "--click", "Film 2"]) == 0
    assert told(capsys)["turns"][0]["seen"] == 0


def test_clicks_are_read_from_standard_input(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Film 3\n#2\nFlim 3\n4\n\nFilm 9\n"))
    assert run(["device", "run", str(folder / "export"), "--json"]) == 0
    captured = capsys.readouterr()
    turns = json.loads(captured.out)["turns"]
    assert [turn["clicked"] for turn in turns[:2]] == [None, "Film 3"]
    assert turns[2]["clicked"] == turns[1]["list"][1]["title"]
    assert turns[3]["clicked"] == "Film 4"
    assert len(turns) == 4
    assert 'Did you mean "Film 3"' in captured.err


def test_a_session_goes_on_without_the_cloud(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clicks = [word for number in range(6) for word in ("--click", str(number))]
    words = ["device", "run", str(folder / "export"), *clicks, "--cloud", "http://127.0.0.1:9", "--json"]
    assert run(words) == 0
    document = told(capsys)
    assert document["cloud"] == {"unreachable": 1}
    assert document["turns"][5]["cloud"] == "no answer: unreachable"
    assert not any(turn["corrected"] for turn in document["turns"])


@pytest.mark.slow
@pytest.mark.parametrize("upload", ["hidden", "summary"])
def test_a_cloud_corrects_until_it_is_ended_and_the_session_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str], upload: str
) -> None:
    words = ["device", "run", str(folder / "export"), "--run", str(folder / "run"), "--start-cloud"]
    clicks = [word for number in range(30) for word in ("--click", str(number % 15))]
    assert run([*words, *clicks, "--stop-cloud-after", "7", "--upload", upload, "--timeout", "5", "--json"]) == 0
    document = told(capsys)
    assert document["cloud"]["ok"] == 1
    assert document["cloud"]["unreachable"] == 1
    # asked after click 5; an answer holds for 2 m + sync_every = 25 clicks
    assert [turn["seen"] for turn in document["turns"] if turn["corrected"]] == list(range(6, 31))


@pytest.mark.parametrize(
    ("words", "code", "mention"),
    [
        (["export", "RUN", "--precision", "int9"], 2, "int8"),
        (["export", "RUN", "--out", "RUN"], 2, "not a device export"),
        (["export", "nowhere"], 5, "does not exist"),
        (["run", "RUN"], 5, "device"),
        (["run", "EXPORT", "--click", "Flim 3"], 3, "Film 3"),
        (["run", "EXPORT", "--replay", "1"], 2, "--run"),
        (["run", "EXPORT", "--replay", "nobody", "--run", "RUN"], 2, "nobody"),
        (["run", "EXPORT", "--start-cloud", "--cloud", "http://127.0.0.1:9", "--run", "RUN"], 2, "one of them"),
    ],
)
def test_mistakes_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, mention: str
) -> None:
    places = {"RUN": str(folder / "run"), "EXPORT": str(folder / "export")}
    assert run(["device", *(places.get(word, word) for word in words)]) == code
    assert mention in capsys.readouterr().err


def test_the_log_of_a_user_is_replayed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import palate

    words = ["device", "run", str(folder / "export"), "--replay", "3", "--run", str(folder / "run"), "--json"]
    assert run(words) == 0
    turns = told(capsys)["turns"]
    recommender: Any = palate.load(folder / "run")
    taken = [recommender.catalogue.title(number) for number in recommender.users.items_of("3")]
    assert [turn["clicked"] for turn in turns[1:]] == taken
