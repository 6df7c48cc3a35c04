from __future__ import annotations

import io

import pytest

from palate.train.progress import BarProgress, LineProgress, SilentProgress, Snapshot, progress_for


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_every_so_many_seconds_and_one_at_the_end():
    clock, stream = Clock(), io.StringIO()
    progress = LineProgress(stream, interval=10, clock=clock)
    with progress.task("epoch 1/3", 1000, unit="steps") as task:
        for _ in range(200):
            clock.now += 0.125
            task.advance(2, loss=0.69314)
        task.close()
        task.close()
    assert stream.getvalue().splitlines() == [
        "epoch 1/3: 160/1,000 steps (16%), 16.0 steps/s, 0:52 left, loss 0.69314",
        "epoch 1/3: 320/1,000 steps (32%), 16.0 steps/s, 0:42 left, loss 0.69314",
        "epoch 1/3: 400/1,000 steps (40%), 16.0 steps/s, 0:25 in all, loss 0.69314",
    ]


def test_what_was_done_before_does_not_count_in_the_rate():
    clock, stream = Clock(), io.StringIO()
    task = LineProgress(stream, interval=1, clock=clock).task("epoch 2/3", 500, done=400)
    clock.now += 2
    task.advance(10)
    assert stream.getvalue() == "epoch 2/3: 410/500 steps (82%), 5.0 steps/s, 0:18 left\n"


def test_an_unknown_total_has_no_percentage_and_no_time_left():
    clock, stream = Clock(), io.StringIO()
    task = LineProgress(stream, interval=1, clock=clock).task("reading", unit="rows")
    clock.now += 2
    task.advance(2_500_000, file="a.csv")
    assert stream.getvalue() == "reading: 2,500,000 rows, 1,250,000 rows/s, file a.csv\n"


def test_nothing_done_in_no_time_is_fine():
    stream = io.StringIO()
    LineProgress(stream, clock=Clock()).task("nothing", 0).close()
    assert stream.getvalue() == "nothing: 0 steps, 0.0 steps/s, 0:00 in all\n"


def test_long_times_have_hours():
    snapshot = Snapshot("x", 10, 10_010, "steps", 10.0, 1.0)
    assert "2:46:40 left" in str(snapshot)


def test_the_bar_draws_itself_and_leaves_one_line_per_task():
    stream = Terminal()
    progress = BarProgress(stream, interval=0)
    with progress.task("epoch 1/2 [x]", 4) as task:
        for _ in range(4):
            task.advance(loss=0.5)
    progress.close()
    text = stream.getvalue()
    assert "2/4 steps (50%)" in text
    assert "epoch 1/2 [x]: 4/4 steps (100%)" in text
    assert "loss 0.5" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h"), "the cursor is given back"


def test_an_error_gives_the_terminal_back():
    stream = Terminal()

    def work() -> None:
        with BarProgress(stream, interval=0).task("broken", 4) as task:
            task.advance()
            task.advance(1 // 0)

    with pytest.raises(ZeroDivisionError):
        work()
    assert "\x1b[?25l" in stream.getvalue()
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h")


def test_the_stream_decides():
    assert isinstance(progress_for(Terminal()), BarProgress)
    assert isinstance(progress_for(io.StringIO()), LineProgress)
    assert isinstance(progress_for(Terminal(), quiet=True), SilentProgress)


def test_silence_costs_nothing_and_says_nothing(capsys):
    with SilentProgress().task("quiet", 3) as task:
        task.advance(3)
    assert capsys.readouterr() == ("", "")
