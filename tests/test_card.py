import pytest

from palate.card import CalibrationFacts, Card, CostFacts, DataFacts, MetricFacts
from palate.errors import ConfigError

DATA = DataFacts(
    name="tea", fingerprint="f" * 64, rows=10, users=3, items=4, split="by time", split_fingerprint="s" * 64,
    train=8, validation=1, test=1,
)  # fmt: skip
CARD = Card(
    model="fm", task="rank", palate="0.1", seed=3, settings={"embedding_size": 4}, training={}, data=DATA,
    protocol="Rows of the last tenth of time.", metrics=(MetricFacts(name="auc", value=0.7, low=0.6, high=0.8,
    part="test", cases=100, skipped=2),),
    cost=CostFacts(training_seconds=1.5, epochs=2, parameters=1000, megabytes=0.1),
    limits=("Ten rows.",),
)  # fmt: skip


def test_the_page_states_value_interval_part_and_cases():
    page = CARD.to_markdown()
    assert "| auc | 0.7000 | 0.6000 to 0.8000 | test | 100 | 2 |" in page
    assert "**not** probabilities" in page
    assert "Ten rows." in page
    assert "seed 3" in page


def test_a_metric_of_the_whole_list_has_no_interval():
    coverage = MetricFacts(name="coverage@10", value=0.5, low=None, high=None, part="test", cases=4, skipped=0)
    page = CARD.replace(metrics=(coverage,)).to_markdown()
    assert "| coverage@10 | 0.5000 |  | test | 4 | 0 |" in page


def test_a_calibrated_card_says_how_it_was_measured():
    facts = CalibrationFacts(
        method="platt", fitted_on="the validation part", rows=50, ece_before=0.1, ece_after=0.01, pcoc_before=1.2,
        pcoc_after=1.0, log_loss_before=0.5, log_loss_after=0.4,
    )  # fmt: skip
    page = CARD.replace(calibration=facts).to_markdown()
    assert "platt, fitted on the validation part (50 rows)" in page
    assert "| after | 0.0100 | 1.0000 | 0.4000 |" in page
    assert "not** probabilities" not in page


def test_cards_round_trip_and_refuse_unknown_facts():
    assert Card.model_validate_json(CARD.model_dump_json()) == CARD
    assert CARD.metric("auc").value == 0.7
    assert CARD.metric("ndcg@10") is None
    with pytest.raises(ConfigError, match="seed"):
        Card.model_validate({**CARD.model_dump(), "seeed": 1})
