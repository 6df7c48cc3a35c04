from __future__ import annotations

import csv
import json
import math

from palate.train.tracking import CsvTracker, JsonlTracker, Tracker, Trackers, file_trackers


def rows(path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_jsonl_has_one_object_per_line_and_null_for_nan(tmp_path):
    tracker = JsonlTracker(tmp_path / "run" / "m.jsonl")
    tracker.log(1, {"loss": 0.5})
    tracker.log(2, {"loss": math.nan, "auc": 0.1 + 0.2})
    tracker.close()
    lines = [json.loads(line) for line in tracker.path.read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None, "auc": 0.1 + 0.2}]


def test_csv_gets_a_column_when_a_name_appears(tmp_path):
    tracker = CsvTracker(tmp_path / "m.csv")
    tracker.log(1, {"loss": 0.5})
    tracker.log(2, {"auc": 0.1 + 0.2, "loss": 0.25})
    tracker.log(3, {"loss": 1e-9})
    assert tracker.path.read_text() == "step,loss,auc\n1,0.5,\n2,0.25,0.30000000000000004\n3,1e-09,\n"


def test_csv_goes_on_with_the_columns_of_the_file(tmp_path):
    CsvTracker(tmp_path / "m.csv").log(1, {"loss": 0.5, "a,b": 1.0})
    CsvTracker(tmp_path / "m.csv").log(2, {"a,b": 2.0, "new": 3.0})
    assert rows(tmp_path / "m.csv") == [
        {"step": "1", "loss": "0.5", "a,b": "1.0", "new": ""},
        {"step": "2", "loss": "", "a,b": "2.0", "new": "3.0"},
    ]


def test_rewinding_drops_what_came_later_and_a_line_cut_short(tmp_path):
    both = file_trackers(tmp_path)
    for step in (1, 2, 3, 4):
        both.log(step, {"loss": step / 2})
    for name, half in (("metrics.jsonl", '{"step": 5, "lo'), ("metrics.csv", "5,2")):
        with (tmp_path / name).open("a") as stream:
            stream.write(half)
    again = file_trackers(tmp_path)
    again.rewind(2)
    again.log(3, {"loss": 9.0})
    again.close()
    lines = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [1, 2, 3]
    assert [(row["step"], row["loss"]) for row in rows(tmp_path / "metrics.csv")] == [
        ("1", "0.5"),
        ("2", "1.0"),
        ("3", "9.0"),
    ]


def test_rewinding_drops_lines_that_no_one_can_read(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n\x00\x00\n[]\n{"loss": 1}\n{"step": 2}\n')
    JsonlTracker(path).rewind(9)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_rewinding_before_anything_was_written_is_fine(tmp_path):
    file_trackers(tmp_path).rewind(0)
    assert list(tmp_path.iterdir()) == []


def test_several_trackers_are_one_and_only_some_can_rewind():
    class Plain:
        def __init__(self) -> None:
            self.seen: list[object] = []

        def log(self, step, values) -> None:
            self.seen.append((step, dict(values)))

        def close(self) -> None:
            self.seen.append("closed")

    class Rewinding(Plain):
        def rewind(self, step) -> None:
            self.seen.append(("rewound", step))

    plain, rewinding = Plain(), Rewinding()
    together = Trackers(plain, rewinding)
    together.log(1, {"a": 1.0})
    together.rewind(0)
    together.close()
    assert plain.seen == [(1, {"a": 1.0}), "closed"]
    assert rewinding.seen == [(1, {"a": 1.0}), ("rewound", 0), "closed"]
    assert isinstance(together, Tracker)
