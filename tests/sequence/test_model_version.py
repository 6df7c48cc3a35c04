"""The version says which device and which cloud belong together."""

from __future__ import annotations

import pytest
import torch

from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.model_version import model_versions


def model(**settings: object) -> CoCorrRec:
    torch.manual_seed(0)
    return CoCorrRec(20, CoCorrRecConfig(embedding_size=16, num_heads=2, mini_batch_size=4, **settings))


def moved(name: str) -> CoCorrRec:
    made = model()
    with torch.no_grad():
        dict(made.named_parameters())[name].add_(0.5)
    return made


def test_equal_models_have_equal_versions():
    versions = model_versions(model())
    assert versions == model_versions(model())
    assert versions.hidden != versions.summary
    assert all(len(version) == 16 and int(version, 16) >= 0 for version in versions)


@pytest.mark.parametrize(
    "name", ["item_embedding.weight", "scn.norm.gain", "scn.layer.query.weight", "target.first.bias"]
)
def test_any_part_of_the_device_changes_both(name):
    before, after = model_versions(model()), model_versions(moved(name))
    assert before.hidden != after.hidden
    assert before.summary != after.summary


def test_recurrences_change_the_version_for_summaries_only():
    before, after = model_versions(model()), model_versions(moved("gcn.bias.gru.weight_hh_l0"))
    assert before.hidden == after.hidden
    assert before.summary != after.summary


@pytest.mark.parametrize("name", ["gcn.bias.third.weight", "attention_weight", "bias_weight"])
def test_a_cloud_can_be_replaced_without_touching_devices(name):
    assert model_versions(model()) == model_versions(moved(name))
    base = model(mode="base")
    assert model_versions(base).hidden == model_versions(CoCorrRec.from_base(base)).hidden


def test_settings_that_change_what_a_device_computes_count_and_others_do_not():
    assert model_versions(model()).hidden != model_versions(model(inner_rate=0.5)).hidden
    assert model_versions(model()).hidden == model_versions(model(sync_every=7)).hidden
