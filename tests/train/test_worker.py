from __future__ import annotations

import contextvars
import random
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from palate import saving
from palate.train.contract import TrainConfig
from palate.train.loop import fit
from palate.train.worker import Worker


def press_ctrl_c() -> None:
    """Do what the terminal does; the signal goes to the main thread, as the kernel prefers."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch):
    monkeypatch.setattr(saving, "_sync", lambda path: None)


def test_calls_run_on_one_other_thread_and_give_back_what_they_give():
    with Worker() as worker:
        threads = {worker.run(threading.get_ident) for _ in range(3)}
        assert len(threads) == 1
        assert threading.get_ident() not in threads
        with pytest.raises(ZeroDivisionError):
            worker.run(lambda: 1 / 0)
        with pytest.raises(TimeoutError, match="mine"):
            worker.run(_time_out)


def _time_out() -> None:
    raise TimeoutError("mine")


def test_context_variables_and_the_number_of_threads_come_along():
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    variable.set(5)
    with Worker() as worker:
        assert worker.run(variable.get) == 5
        assert worker.run(torch.get_num_threads) == torch.get_num_threads()


def test_denormals_are_flushed_there_and_not_here():
    small = torch.tensor([1e-39])
    with Worker() as worker:
        assert worker.run(lambda: (small * 0.5).item()) == 0.0
    assert (small * 0.5).item() != 0.0


def test_the_first_ctrl_c_lets_the_call_finish_and_the_second_does_not():
    with Worker() as worker:

        def finishes() -> str:
            press_ctrl_c()
            assert worker.stop.wait(5)
            return "done"

        assert worker.run(finishes) == "done"
        assert worker.stop.is_set()
    release = threading.Event()
    with Worker() as worker:

        def hangs() -> None:
            press_ctrl_c()
            assert worker.stop.wait(5)
            press_ctrl_c()
            release.wait(20)

        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            worker.run(hangs)
        assert time.monotonic() - began < 5
        release.set()


def test_an_interrupt_that_the_call_itself_raises_is_passed_on():
    def interrupted() -> None:
        raise KeyboardInterrupt

    with Worker() as worker:
        with pytest.raises(KeyboardInterrupt):
            worker.run(interrupted)
        assert not worker.stop.is_set()


# -- in the loop


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(20, 3)
        self.rest = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 1))

    def loss(self, batch: Tensor) -> Tensor:
        return self.rest(self.table(batch).flatten(1)).square().mean()


class Source:
    """Calls ``press`` with (epoch, step) before it gives a batch."""

    def __init__(self, steps: int = 6, press=lambda epoch, step: None) -> None:
        self.count, self.press = steps, press

    def steps(self, epoch: int) -> int:
        return self.count

    def batch(self, epoch: int, step: int) -> Tensor:
        self.press(epoch, step)
        return torch.randint(0, 20, (8, 2), generator=torch.Generator().manual_seed(100 * epoch + step))


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


CONFIG = TrainConfig(epochs=3, learning_rate=0.01)


@pytest.fixture(scope="module")
def uninterrupted() -> Net:
    model = Net()
    fit(model, Source(), CONFIG)
    return model


def test_ctrl_c_finishes_the_step_saves_and_goes_on_exactly(tmp_path, uninterrupted, caplog):
    def press(epoch: int, step: int) -> None:
        if (epoch, step) == (1, 2):
            press_ctrl_c()
            limit = time.monotonic() + 60
            while "Interrupted" not in caplog.text and time.monotonic() < limit:
                time.sleep(0.01)  # the main thread takes the wish while the step is under way

    result = fit(Net(), Source(press=press), CONFIG, run_folder=tmp_path)
    assert (result.stopped_because, result.steps, len(result.history)) == ("interrupted", 9, 1)
    assert (tmp_path / "checkpoint-000009").is_dir()
    resumed = Net()
    result = fit(resumed, Source(), CONFIG, run_folder=tmp_path)
    assert result.resumed_from == tmp_path / "checkpoint-000009"
    assert result.stopped_because == "epochs"
    assert same(resumed, uninterrupted)


def test_ctrl_c_in_validation_saves_the_epoch_and_validates_again(tmp_path, uninterrupted):
    def interrupted(model: nn.Module) -> dict[str, float]:
        torch.rand(7)
        signal.raise_signal(signal.SIGINT)
        time.sleep(5)
        raise AssertionError("unreachable")

    result = fit(Net(), Source(), CONFIG, validate=interrupted, run_folder=tmp_path)
    assert (result.stopped_because, result.steps, result.history) == ("interrupted", 6, [])
    batches: list[tuple[int, int]] = []
    resumed = Net()
    rising = iter([0.5, 0.6, 0.7])
    source = Source(press=lambda epoch, step: batches.append((epoch, step)))
    result = fit(resumed, source, CONFIG, validate=lambda model: {"auc": next(rising)}, run_folder=tmp_path)
    assert batches[0] == (1, 0)
    assert (len(result.history), result.best_epoch) == (3, 2)
    assert same(resumed, uninterrupted)


def test_a_source_that_raises_the_interrupt_itself_loses_nothing(tmp_path, uninterrupted):
    def press(epoch: int, step: int) -> None:
        if (epoch, step) == (2, 1):
            raise KeyboardInterrupt

    result = fit(Net(), Source(press=press), CONFIG, run_folder=tmp_path)
    assert (result.stopped_because, result.steps) == ("interrupted", 13)
    resumed = Net()
    fit(resumed, Source(), CONFIG, run_folder=tmp_path)
    assert same(resumed, uninterrupted)


def test_an_interrupt_raised_inside_a_step_leaves_the_checkpoint_before_it(tmp_path, uninterrupted):
    class Breaking(Net):
        def loss(self, batch: Tensor) -> Tensor:
            loss = super().loss(batch)
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen == 11:
                raise KeyboardInterrupt
            return loss

    Breaking.__qualname__ = "Net"
    result = fit(Breaking(), Source(), CONFIG.replace(checkpoint_every=4), run_folder=tmp_path)
    assert (result.stopped_because, result.steps) == ("interrupted", 10)
    assert not (tmp_path / "checkpoint-000010").exists()
    resumed = Net()
    result = fit(resumed, Source(), CONFIG, run_folder=tmp_path)
    assert result.resumed_from == tmp_path / "checkpoint-000008"
    assert same(resumed, uninterrupted)


class _Presser:
    """Presses Ctrl-C some time after the first batch, unless the fit is over by then."""

    def __init__(self, delay: float) -> None:
        self.delay, self.lock, self.over = delay, threading.Lock(), False
        self.thread: threading.Thread | None = None

    def begin(self, epoch: int, step: int) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._press, daemon=True)
            self.thread.start()

    def _press(self) -> None:
        time.sleep(self.delay)
        with self.lock:
            if not self.over:
                press_ctrl_c()

    def end(self) -> None:
        with self.lock:
            self.over = True


def test_interrupted_at_any_moment_and_resumed_until_done(tmp_path):
    config = TrainConfig(epochs=4, learning_rate=0.01, table_update="lazy", checkpoint_every=50, patience=9)
    whole, model = Net(), Net()
    expected = fit(whole, Source(150), config, validate=_weighed)
    choose, interrupts = random.Random(3), 0
    for _ in range(200):
        model, stage = Net(), _Presser(choose.uniform(0.0, 0.08))
        try:
            source = Source(150, press=stage.begin)
            result = fit(model, source, config, validate=_weighed, run_folder=Path(tmp_path))
            stage.end()
        except KeyboardInterrupt:
            # It came before the loop had begun or after it was over: nothing is lost either.
            stage.end()
            continue
        interrupts += result.stopped_because == "interrupted"
        if result.stopped_because != "interrupted":
            break
    assert result.stopped_because == "epochs"
    assert interrupts > 3
    assert same(model, whole)
    assert [record.train_loss for record in result.history] == [record.train_loss for record in expected.history]
    assert [record.metrics for record in result.history] == [record.metrics for record in expected.history]


def _weighed(model: nn.Module) -> dict[str, float]:
    return {"auc": sum(weight.abs().sum().item() for weight in model.parameters())}


def test_the_thread_is_over_when_the_worker_is_left():
    # Otherwise it may still be freeing tensors while the interpreter shuts down, and torch then aborts the process.
    with Worker() as worker:
        worker.run(lambda: None)
        assert worker._thread.is_alive()
    assert not worker._thread.is_alive()
    worker = Worker()
    with pytest.raises(ZeroDivisionError), worker:
        worker.run(lambda: 1 / 0)
    assert not worker._thread.is_alive()


def test_a_step_that_hangs_is_not_waited_for_after_the_second_interrupt():
    release, worker = threading.Event(), Worker()
    worker.stop.set()
    threading.Timer(0.2, press_ctrl_c).start()
    with pytest.raises(KeyboardInterrupt), worker:
        worker.run(release.wait)
    assert worker._thread.is_alive()
    release.set()
    worker._thread.join(timeout=10)
    assert not worker._thread.is_alive()
