from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from palate.errors import ConfigError, DataError, UnknownNameError
from palate.memory.audit import audit
from palate.memory.files import read_trajectories, to_memdaily, write_parquet, write_shards
from palate.memory.grammar import load_grammar
from palate.memory.programs import Fact
from palate.memory.published import read_published
from palate.memory.rewriting import Rewriter, why_refused
from palate.memory.simulator import BLOCK, Simulator, SimulatorConfig


def test_shards_are_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    config = SimulatorConfig(seed=31, noise=1)
    one = write_shards(tmp_path / "one", config, BLOCK + 40, per_shard=BLOCK)
    two = write_shards(tmp_path / "two", config, BLOCK + 40, per_shard=BLOCK, workers=2)
    assert one["shards"] == two["shards"]
    assert len(one["shards"]) == 2
    assert list(read_trajectories(tmp_path / "one")) == list(Simulator(config).trajectories(BLOCK + 40))
    assert one["messages"] == sum(len(t.messages) for t in read_trajectories(tmp_path / "one"))


def test_an_interrupted_run_goes_on_and_other_settings_are_refused(tmp_path: Path) -> None:
    config = SimulatorConfig(seed=32)
    whole = write_shards(tmp_path, config, 2 * BLOCK, per_shard=BLOCK)
    lost = sorted(tmp_path.glob("*.jsonl"))[1]
    lost.unlink()
    assert write_shards(tmp_path, config, 2 * BLOCK, per_shard=BLOCK) == whole
    with pytest.raises(ConfigError, match="other settings"):
        write_shards(tmp_path, config.replace(seed=33), BLOCK, per_shard=BLOCK)


def test_broken_shards_name_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trajectories"):
        list(read_trajectories(tmp_path))
    for bad in ("{", "[]", '{"id": "1"}'):
        (tmp_path / "trajectories-000.jsonl").write_text(bad + "\n")
        with pytest.raises(DataError, match="line 1"):
            list(read_trajectories(tmp_path))


def test_parquet_holds_everything(tmp_path: Path) -> None:
    import polars as pl

    trajectories = list(Simulator(SimulatorConfig(seed=34)).trajectories(30))
    assert write_parquet(tmp_path / "t.parquet", trajectories, batch=7) == 30
    frame = pl.read_parquet(tmp_path / "t.parquet")
    assert frame["answer"].to_list() == [t.question.answer for t in trajectories]
    assert frame["messages"][3][0]["text"] == trajectories[3].messages[0].text


@pytest.mark.parametrize("noise", [0, 2])
def test_memdaily_layout_round_trip(tmp_path: Path, noise: int) -> None:
    trajectories = list(Simulator(SimulatorConfig(seed=35, noise=noise, language="chinese")).trajectories(30))
    path = tmp_path / "memdaily.json.gz"
    path.write_bytes(gzip.compress(json.dumps(to_memdaily(trajectories)).encode()))
    read = read_published(path, "memdaily")
    assert len(read) == 30
    by_text = {t.question.text: t for t in trajectories}
    for trajectory in read:
        made = by_text[trajectory.question.text]
        assert trajectory.question.options == made.question.options
        assert trajectory.question.key == made.question.key
        assert trajectory.question.evidence == made.question.evidence
        if not noise:
            assert [m.text for m in trajectory.messages] == [m.text for m in made.messages]
    assert audit(read).counts == {}


def memdaily(answer: str, choices: list[str], text: str, time: str = "2024年04月05日 周五 18:37") -> dict[str, Any]:
    asked = {
        "qid": 0,
        "question": "活动的时间是什么？",
        "answer": answer,
        "target_step_id": [0],
        "choices": dict(zip("ABCD", choices, strict=True)),
        "ground_truth": "A",
        "time": "2024年04月08日 周一 09:00",
    }
    message = {"mid": 0, "message": text, "time": time, "place": "上海"}
    return {"simple": {"events": [{"tid": 0, "message_list": [message], "QA": asked}]}}


def test_the_audit_finds_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "m.json"

    def counts(document: dict[str, Any]) -> dict[str, int]:
        path.write_text(json.dumps(document))
        return audit(read_published(path, "memdaily")).counts

    right, late = "2024年04月08日 周一 19:00", "2024年04月15日 周一 19:00"
    others = ["2024年04月09日 周二 19:00", "2024年04月10日 周三 19:00", "2024年04月11日 周四 19:00"]
    said = "论坛的时间是下周一晚上七点。"
    assert counts(memdaily(right, [right, *others], said)) == {}
    assert counts(memdaily(late, [late, *others], said)) == {"time resolved from another day": 1}
    assert counts(memdaily(right, [right, right, *others[:2]], said)) == {"right answer listed twice": 1}
    assert counts(memdaily(right, [others[0], right, *others[1:]], said))["key is not the stated answer"] == 1
    lost = memdaily(right, [right, *others], said)
    lost["simple"]["events"][0]["QA"]["target_step_id"] = [7]
    assert counts(lost) == {"evidence that does not exist": 1}


def test_locomo_and_longmemeval(tmp_path: Path) -> None:
    locomo = [
        {
            "sample_id": "s1",
            "conversation": {
                "speaker_a": "Ann",
                "speaker_b": "Bob",
                "session_1_date_time": "1:56 pm on 8 May, 2023",
                "session_1": [{"speaker": "Ann", "dia_id": "D1:1", "text": "Hello", "blip_caption": "a cat"}],
            },
            "qa": [
                {"question": "Who?", "answer": 2022, "evidence": ["D1:1; D1:1"], "category": 2},
                {"question": "Why?", "adversarial_answer": "x", "evidence": ["D1:1"], "category": 5},
            ],
        }
    ]
    (tmp_path / "locomo.json").write_text(json.dumps(locomo))
    first, second = read_published(tmp_path / "locomo.json", "locomo")
    assert first.messages[0].text == "Ann: Hello [picture: a cat]"
    assert first.messages[0].time == "2023-05-08T13:56"
    assert (first.question.answer, first.question.evidence) == ("2022", ("D1:1",))
    assert second.question.answer == "not mentioned"
    entry = {
        "question_id": "q1_abs",
        "question_type": "single-session-user",
        "question": "What?",
        "answer": "tea",
        "question_date": "2023/05/30 (Tue) 23:40",
        "haystack_session_ids": ["a", "a"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 02:21"],
        "haystack_sessions": [[{"role": "user", "content": "I like tea", "has_answer": True}]] * 2,
    }
    (tmp_path / "long.json").write_text(json.dumps([entry]))
    found = read_published(tmp_path / "long.json", "longmemeval")[0]
    assert found.question.evidence == ("0:a:0", "1:a:0")
    assert found.question.type.endswith("_abstention")
    assert found.question.time == "2023-05-30T23:40"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\x1f\x8b\x00", b'{"simple": 3}', b'{"simple": {"roles": [{}]}}']
)
def test_hostile_files_are_one_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ("x.json.gz" if content[:1] == b"\x1f" else "x.json")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json"):
        read_published(path, "memdaily")
    with pytest.raises(UnknownNameError, match="memdaily"):
        read_published(path, "memdayly")


def test_rewrites_must_keep_every_fact() -> None:
    grammar, fact = load_grammar("english"), Fact("person:boss", "hometown", "Lisbon")
    text = "My boss grew up in Lisbon."
    assert why_refused(text, "You know, Lisbon is where my boss spent childhood.", fact, grammar) == ""
    refused = {
        "He grew up in Lisbon, I believe.": "entity",
        "My boss grew up in Porto, I think.": "value",
        "My boss did not grow up in Lisbon.": "negation",
        "My boss, now 40, grew up in Lisbon.": "number",
        "My boss grew up in Lisbon, not Porto.": "negation",
        "My boss grew up in Lisbon, like Porto.": "another value",
        "Lisbon.": "length",
    }
    for rewritten, reason in refused.items():
        assert why_refused(text, rewritten, fact, grammar) == reason, rewritten
    tall = Fact("person:boss", "height", 172)
    assert why_refused("My boss is 172 cm tall.", "My boss measures 1.72 m.", tall, grammar) == ""
    assert why_refused("My boss is 172 cm tall.", "My boss measures 173 cm.", tall, grammar) == "value"
    moment = Fact("event:Amber Fair", "time", "2024-04-08T19:00")
    said = "The Amber Fair starts on Monday of next week at 19:00."
    kept = "Mark it: Monday of next week at 19:00 is when the Amber Fair begins."
    assert why_refused(said, kept, moment, grammar, said="2024-04-05T18:37") == ""


def test_bad_writers_never_change_a_fact() -> None:
    grammar = load_grammar("english")
    made = list(Simulator(SimulatorConfig(seed=36, scenarios=("person",))).trajectories(6))
    spoilers = {
        "digit": lambda text: text + " 7",
        "name": lambda text: text.replace("my ", "some ").replace("My ", "Some "),
        "negation": lambda text: text + " Not at all.",
        "city": lambda text: text + " Like Gdansk.",
    }
    for name, spoil in spoilers.items():
        rewriter = Rewriter(lambda prompt, spoil=spoil: spoil(prompt.partition("\n\n")[2]), grammar, retries=1)  # type: ignore[misc]
        for trajectory in made:
            assert rewriter(trajectory) == trajectory, name
        assert rewriter.counts["accepted"] == 0
        assert rewriter.counts["kept as it was"] == sum(len(t.messages) for t in made)
    polite = Rewriter(lambda prompt: "As I said: " + prompt.partition("\n\n")[2], grammar)
    again = polite(made[0])
    assert all(message.text.startswith("As I said: ") for message in again.messages)
    assert again.question == made[0].question
