"""Answers are the model's own, alone or in a batch; what it cannot answer is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palate.errors import ConfigError
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.correction_wire import Upload, WireError
from palate.sequence.ttt_layer import rescale
from palate.serve.corrector import Corrector, _within
from palate.serve.refusals import VersionError

SETTINGS = {"embedding_size": 16, "num_heads": 2, "mini_batch_size": 4, "sync_every": 3}


@pytest.fixture(scope="module")
def corrector() -> Corrector:
    torch.manual_seed(0)
    model = CoCorrRec(30, CoCorrRecConfig(**SETTINGS))
    with torch.no_grad():
        model.item_embedding.weight.add_(torch.randn(31, 16))
        model.attention_weight.fill_(0.5)
    return Corrector(model)


def hidden_of(corrector: Corrector, length: int, seed: int = 0) -> np.ndarray:
    items = torch.randint(1, 31, (1, length), generator=torch.Generator().manual_seed(seed))
    return corrector.model.hidden(items)[0].detach().numpy()


def upload(corrector: Corrector, length: int = 5, seed: int = 0, **changes: object) -> Upload:
    given = {"model_version": corrector.versions.hidden, "session": "s", "seq_no": length, "dtype": "f32"}
    return Upload(**{**given, "values": hidden_of(corrector, length, seed), **changes})


def test_an_answer_is_what_the_model_says_in_its_own_process(corrector):
    [answer] = corrector.answer([upload(corrector)])
    own = corrector.model.correct(torch.from_numpy(hidden_of(corrector, 5))[None], torch.tensor([5]))
    assert (answer.attention_weight, answer.bias_weight) == (0.5, 0.25)
    assert (answer.seq_no, answer.ttl_steps) == (5, 2 * 4 + 3)
    target = torch.randn(1, 2, 4, 4), torch.randn(1, 2, 4, 8)
    for sent, raw, like in zip((answer.attention, answer.bias), own[:2], target, strict=True):
        np.testing.assert_allclose(sent.mean(-1), 0, atol=1e-6)
        torch.testing.assert_close(
            rescale(torch.from_numpy(sent)[None], like), rescale(raw, like), atol=1e-4, rtol=1e-4
        )


def test_a_batch_answers_each_as_if_it_came_alone(corrector):
    lengths = (1, 5, 70, 3, 1000, 5, 64, 65)
    uploads = [upload(corrector, length, seed) for seed, length in enumerate(lengths)]
    summaries = corrector.model.gcn.summaries(torch.from_numpy(uploads[1].values)[None])
    both = torch.stack([summary[0, -1] for summary in summaries]).detach().numpy()
    uploads.append(upload(corrector, 9, kind="summary", values=both, model_version=corrector.versions.summary))
    together = corrector.answer(uploads)
    assert [answer.seq_no for answer in together] == [*lengths, 9]
    for one, answer in zip(uploads, together, strict=True):
        [alone] = corrector.answer([one])
        np.testing.assert_allclose(answer.attention, alone.attention, atol=1e-5)
        np.testing.assert_allclose(answer.bias, alone.bias, atol=1e-5)
    assert np.abs(together[1].attention - together[5].attention).max() > 1e-3
    # the summary of the second upload gets the answer of the second upload
    np.testing.assert_allclose(together[-1].attention, together[1].attention, atol=1e-5)
    np.testing.assert_allclose(together[-1].bias, together[1].bias, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "mention"),
    [
        ({"model_version": "0" * 16}, VersionError, "for uploads of kind hidden this service has"),
        ({"kind": "summary", "values": np.zeros((2, 64), np.float32)}, VersionError, "kind summary"),
        ({"values": np.zeros((5, 8), np.float32)}, WireError, "width 8; this model has D = 16"),
        ({"values": np.zeros((0, 16), np.float32)}, WireError, "no rows"),
    ],
)
def test_what_it_cannot_answer_is_refused(corrector, changes, error, mention):
    with pytest.raises(error, match=mention):
        corrector.check(upload(corrector, **changes))
    corrector.check(upload(corrector))


def test_summaries_of_another_shape_are_refused(corrector):
    values = np.zeros((2, 63), np.float32)
    with pytest.raises(WireError, match=r"\[2, 64\] is expected"):
        corrector.check(upload(corrector, kind="summary", values=values, model_version=corrector.versions.summary))


def test_an_answer_that_is_not_finite_is_told_and_spares_the_others(corrector, monkeypatch):
    answer = CoCorrRec.answer

    def overflowing(self, attention_summary, bias_summary):
        correction = answer(self, attention_summary, bias_summary)
        correction.bias[0, 0, 0, 0] = torch.inf
        return correction

    fine = upload(corrector)
    [alone] = corrector.answer([fine])
    monkeypatch.setattr(CoCorrRec, "answer", overflowing)
    first, second = corrector.answer([upload(corrector, seed=3), fine])
    assert isinstance(first, WireError)
    assert "too large" in str(first)
    np.testing.assert_allclose(second.bias, alone.bias, atol=1e-5)
    assert corrector.answer([]) == []


def test_answers_that_float16_cannot_hold_are_made_smaller():
    raw = np.array([[1e6, -5e5], [3.0, 0.0]], np.float32)
    small = _within(raw, "f16")
    assert np.isfinite(small.astype(np.float16)).all()
    assert np.array_equal(small, raw * 2.0**-6)  # a power of two: no digit is lost
    assert _within(raw, "f32") is raw


def test_a_model_without_corrections_is_refused():
    with pytest.raises(ConfigError, match="no corrections to give"):
        Corrector(CoCorrRec(30, CoCorrRecConfig(mode="base", **SETTINGS)))
