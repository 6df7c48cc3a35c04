from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from palate.errors import MissingExtraError
from palate.train.services import MlflowTracker, TensorBoardTracker, TrackioTracker, WandbTracker
from palate.train.tracking import Tracker


class Recorder:
    """Stands in for a run or a writer and notes every call."""

    def __init__(self, calls: list[Any], **attributes: Any) -> None:
        self.calls = calls
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        def note(*arguments: Any, **options: Any) -> None:
            self.calls.append((name, arguments, options))

        return note


def fake(monkeypatch, name: str, **functions: Any) -> list[Any]:
    """Put a module into sys.modules; the functions that are given return something, all are noted."""
    calls: list[Any] = []
    module = ModuleType(name)

    def noted(function_name: str, answer: Any) -> Any:
        def function(*arguments: Any, **options: Any) -> Any:
            calls.append((function_name, arguments, options))
            return answer(calls) if callable(answer) else answer

        return function

    for function_name, answer in functions.items():
        setattr(module, function_name, noted(function_name, answer))
    monkeypatch.setitem(sys.modules, name, module)
    return calls


def use(tracker: Tracker) -> None:
    tracker.log(10, {"train/loss": 0.5, "auc": 0.7})
    tracker.close()


def test_tensorboard(monkeypatch, tmp_path):
    calls = fake(monkeypatch, "torch.utils.tensorboard", SummaryWriter=Recorder)
    use(TensorBoardTracker(tmp_path))
    assert calls == [
        ("SummaryWriter", (), {"log_dir": str(tmp_path)}),
        ("add_scalar", ("train/loss", 0.5, 10), {}),
        ("add_scalar", ("auc", 0.7, 10), {}),
        ("close", (), {}),
    ]


def test_mlflow_logs_by_the_id_of_its_run(monkeypatch):
    run = SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    names = {"set_experiment": None, "start_run": run, "log_params": None, "log_metrics": None, "end_run": None}
    calls = fake(monkeypatch, "mlflow", **names)
    use(MlflowTracker("taste", run_name="one", parameters={"learning_rate": 0.1}))
    assert calls == [
        ("set_experiment", ("taste",), {}),
        ("start_run", (), {"run_name": "one"}),
        ("log_params", ({"learning_rate": 0.1},), {}),
        ("log_metrics", ({"train/loss": 0.5, "auc": 0.7},), {"step": 10, "run_id": "r1"}),
        ("end_run", (), {}),
    ]


@pytest.mark.parametrize(("name", "tracker"), [("wandb", WandbTracker), ("trackio", TrackioTracker)])
def test_wandb_and_trackio_log_to_the_run_they_began(monkeypatch, name, tracker):
    calls = fake(monkeypatch, name, init=Recorder)
    use(tracker("taste", run_name="one", parameters={"seed": 1}, group="g"))
    assert calls == [
        ("init", (), {"project": "taste", "name": "one", "config": {"seed": 1}, "group": "g"}),
        ("log", ({"train/loss": 0.5, "auc": 0.7},), {"step": 10}),
        ("finish", (), {}),
    ]


@pytest.mark.parametrize(
    ("module", "make", "words"),
    [
        ("torch.utils.tensorboard", lambda: TensorBoardTracker("x"), r"pip install 'palate\[trackers\]'"),
        ("mlflow", MlflowTracker, "pip install mlflow"),
        ("wandb", lambda: WandbTracker("x"), "pip install wandb"),
        ("trackio", lambda: TrackioTracker("x"), "pip install trackio"),
    ],
)
def test_what_is_not_installed_says_how_to_get_it(monkeypatch, module, make, words):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=words):
        make()
