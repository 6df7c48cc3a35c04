"""The commands end to end: what they print for people and machines, and their exit codes."""

import json

import pytest

from palate.cli.app import run
from palate.testing.recommenders import small_log


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small_log().save(folder / "log")
    assert run(["fit", str(folder / "log"), "fm", "--train", "epochs=2", "--out", str(folder / "like")]) == 0
    assert run(["fit", str(folder / "log"), "transitions", "--out", str(folder / "next")]) == 0
    return folder


def told(capsys):
    return json.loads(capsys.readouterr().out)


def test_fit_prints_the_card_for_machines(folder, capsys):
    words = ["fit", str(folder / "log"), "lr", "--train", "epochs=1", "--out", str(folder / "lr"), "--json"]
    assert run(words) == 0
    answer = told(capsys)
    assert answer["card"]["model"] == "lr"
    assert answer["folder"] == str(folder / "lr")


def test_recommend_by_user_and_by_history(folder, capsys):
    assert run(["recommend", str(folder / "next"), "--user", "3", "-k", "2", "--include-seen", "--json"]) == 0
    assert [item["rank"] for item in told(capsys)["items"]] == [1, 2]
    assert run(["recommend", str(folder / "like"), "--history", "Film 1", "--history", "3", "-k", "2"]) == 0
    assert "Film" in capsys.readouterr().out


def test_an_unknown_user_is_told(folder, capsys):
    assert run(["recommend", str(folder / "next"), "--user", "stranger"]) == 0
    assert "does not know user stranger" in capsys.readouterr().out


def test_evaluate_says_what_the_numbers_stand_on(folder, capsys):
    assert run(["evaluate", str(folder / "next")]) == 0
    assert "full catalogue" in capsys.readouterr().out
    assert run(["evaluate", str(folder / "like"), str(folder / "log"), "--json"]) == 0
    assert {"auc", "log_loss"} <= {result["name"] for result in told(capsys)["results"]}


def test_calibrate_adds_probabilities(folder, capsys):
    words = ["calibrate", str(folder / "like"), str(folder / "log"), "--method", "platt"]
    assert run([*words, "--out", str(folder / "true"), "--json"]) == 0
    assert told(capsys)["calibration"]["method"] == "platt"
    assert run(["recommend", str(folder / "true"), "--user", "3", "--json"]) == 0
    assert all(0 < item["probability"] < 1 for item in told(capsys)["items"])


def test_calibrate_in_a_context_tells_it_by_value_and_writes_a_page(folder, capsys):
    words = ["calibrate", str(folder / "like"), str(folder / "log"), "--method", "platt-per-field"]
    words += ["--context", "odd,weekday", "--fields", "hour", "--out", str(folder / "seen")]
    assert run([*words, "--report", str(folder / "page.html"), "--json"]) == 0
    answer = told(capsys)
    assert answer["calibration"]["context"] == ["odd", "weekday"]
    assert [field["name"] for field in answer["calibration"]["fields"]] == ["odd", "weekday", "hour"]
    page = (folder / "page.html").read_text()
    assert answer["report"] == str(folder / "page.html")
    for words_on_it in ("Inside odd", "Inside hour", "promised / came", "platt-per-field", "<svg"):
        assert words_on_it in page
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "weekday" in said
    assert "mean error" in said


def test_fit_calibrates_in_a_context(folder, capsys):
    words = ["fit", str(folder / "log"), "lr", "--train", "epochs=1", "--out", str(folder / "lr"), "--json"]
    assert run([*words, "--calibrate", "platt-per-field", "--context", "odd", "--context", "weekday"]) == 0
    assert told(capsys)["card"]["calibration"]["context"] == ["odd", "weekday"]


def test_models_doctor_and_lists(capsys):
    assert run(["models", "qnn*", "--json"]) == 0
    assert "qnn-alpha" in [entry["name"] for entry in told(capsys)]
    assert run(["doctor", "--json"]) == 0
    assert told(capsys)["abilities"]
    assert run(["data", "list", "--json"]) == 0
    assert "movielens-small" in [entry["name"] for entry in told(capsys)["shipped"]]
    assert run(["reproduce", "--list", "--json"]) == 0
    assert isinstance(told(capsys), dict)


@pytest.mark.parametrize(
    ("words", "code", "mention"),
    [
        (["fit", "movielens-smal", "fm"], 2, "movielens-small"),
        (["fit", "LOG", "depfm"], 2, "deepfm"),
        (["fit", "LOG", "fm", "--set", "embeding_size=3"], 2, "embedding_size"),
        (["fit", "LOG", "fm", "--set", "embedding_size"], 2, "NAME=VALUE"),
        (["recommend", "nowhere", "--user", "1"], 5, "does not exist"),
        (["recommend", "RUN"], 2, "history"),
        (["recommend", "RUN", "--history", "Film 99"], 3, "Film 9"),
        (["evaluate", "LIKE"], 2, "evaluate(data)"),
        (["calibrate", "RUN", "LOG"], 2, "ranker"),
        (["calibrate", "LIKE", "LOG", "--context", "weakday"], 2, "weekday"),
        (["calibrate", "LIKE"], 2, "shipped data set"),
        (["calibrate", "LIKE", "LOG", "--method", "beta", "--context", "odd"], 2, "no use for a context"),
        (["fit", "LOG", "fm", "--context", "odd"], 2, "calibrate="),
        (["models", "zzz*"], 2, "zzz"),
        (["reproduce", "qnn"], 2, "qnn"),
        (["reproduce"], 2, "--list"),
    ],
)
def test_errors_have_codes_and_remedies(folder, words, code, mention, capsys):
    places = {"LOG": folder / "log", "RUN": folder / "next", "LIKE": folder / "like"}
    assert run([str(places.get(word, word)) for word in words]) == code
    assert mention in capsys.readouterr().err


def test_errors_reach_machines_as_json(capsys):
    assert run(["fit", "movielens-smal", "fm", "--json"]) == 2
    error = told(capsys)["error"]
    assert error["code"] == "P101"
    assert "movielens-small" in error["remedy"]


def test_data_import_check_and_show(folder, tmp_path, capsys):
    (tmp_path / "log.csv").write_text("who,what,stars\nann,1,5\nbo,,4\ncy,2,1\n")
    words = ["data", "import", str(tmp_path / "log.csv"), "--user", "who", "--item", "what", "--label", "stars >= 4"]
    assert run([*words, "--to", str(tmp_path / "d")]) == 3
    assert "line 3" in capsys.readouterr().err
    assert run([*words, "--to", str(tmp_path / "d"), "--reject-to", str(tmp_path / "bad.jsonl"), "--json"]) == 0
    assert told(capsys)["rows_kept"] == {"interactions": 2}
    assert "bo" in (tmp_path / "bad.jsonl").read_text()
    assert run(["data", "check", str(tmp_path / "d")]) == 0
    assert run(["data", "show", str(tmp_path / "d"), "--json"]) == 0
