from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


peers = load("peers")

SCRIPT = """
import os
import sys
from peers import serve

def double(number):
    print("chatter on standard output")
    os.write(1, b"and on its descriptor")
    return 2 * number

def fail():
    raise ValueError("the peer is unwell")

def leave():
    print("last words", file=sys.stderr)
    os._exit(3)

serve({"double": double, "fail": fail, "leave": leave})
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "peer.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return str(path)  # an absolute path stays what it is


def test_a_peer_answers_times_itself_and_may_print(script: str) -> None:
    with peers.Peer(sys.executable, script) as peer:
        answer = peer.call("double", number=21)
        assert answer["value"] == 42
        assert 0 <= answer["seconds"] < 5
        assert peer.call("double", number=[1])["value"] == [1, 1]


def test_a_failing_call_tells_the_story_and_the_peer_lives_on(script: str) -> None:
    with peers.Peer(sys.executable, script) as peer:
        with pytest.raises(peers.PeerError, match="the peer is unwell"):
            peer.call("fail")
        with pytest.raises(peers.PeerError, match="KeyError: 'dubble'"):
            peer.call("dubble")
        assert peer.call("double", number=1)["value"] == 2


def test_a_peer_that_ends_is_reported_with_its_last_words(script: str) -> None:
    with peers.Peer(sys.executable, script) as peer:
        with pytest.raises(peers.PeerError, match="last words"):
            peer.call("leave")
        with pytest.raises(peers.PeerError, match="ended"):
            peer.call("double", number=1)


def test_an_environment_is_built_once_per_list_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_PEERS", str(tmp_path))
    installed: list[list[str]] = []
    monkeypatch.setattr(peers, "_install", lambda python, packages: installed.append(list(packages)))
    monkeypatch.setattr(peers.venv, "create", lambda folder, **_: Path(folder).mkdir())
    python = peers.peer_environment("x", ["b==1", "a==2"], first=["torch==9"])
    assert installed == [["torch==9"], ["b==1", "a==2", "torch==9"]]
    assert peers.peer_environment("x", ["a==2", "b==1"], first=["torch==9"]) == python
    assert len(installed) == 2
    assert peers.peer_environment("x", ["a==2", "b==1"]) != python
    assert installed[2:] == [["a==2", "b==1"]]


def test_a_broken_build_is_not_taken_for_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_PEERS", str(tmp_path))
    monkeypatch.setattr(peers.venv, "create", lambda folder, **_: Path(folder).mkdir(exist_ok=True))

    def refuse(python: Path, packages: list[str]) -> None:
        raise peers.PeerError("no such version")

    monkeypatch.setattr(peers, "_install", refuse)
    for _ in range(2):
        with pytest.raises(peers.PeerError, match="no such version"):
            peers.peer_environment("x", ["a==2"])


def test_versions_must_be_pinned() -> None:
    with pytest.raises(peers.PeerError, match="ranx: pin the version"):
        peers.peer_environment("x", ["ranx"])
