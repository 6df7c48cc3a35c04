from __future__ import annotations

import json
import logging
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from palate import saving
from palate.config import Config
from palate.errors import CheckpointError, NonFiniteError, TrainingError
from palate.saving import load_folder
from palate.train.contract import TrainConfig
from palate.train.loop import fit

V, D, F = 30, 4, 3


@pytest.fixture(autouse=True)
def _fast_disk(monkeypatch):
    # Power loss is not under test here, and flushing dominates the time.
    monkeypatch.setattr(saving, "_sync", lambda path: None)


class Net(nn.Module):
    """A table, dropout, a batch norm and a head: everything that carries state."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(V, D)
        self.norm = nn.BatchNorm1d(D * F)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(D * F, 1)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        ids, labels = batch
        hidden = self.drop(self.norm(self.table(ids).flatten(1)))
        return functional.binary_cross_entropy_with_logits(self.head(hidden).squeeze(1), labels)


class Source:
    """Batches as a pure function of (epoch, step); ``break_at`` counts calls."""

    def __init__(self, steps: int = 7, rows: int = 16) -> None:
        self.count, self.rows = steps, rows
        self.calls: list[tuple[int, int]] = []

    def steps(self, epoch: int) -> int:
        return self.count

    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        self.calls.append((epoch, step))
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        ids = torch.randint(0, V, (self.rows, F), generator=generator)
        return ids, (ids.sum(1) % 2).float()


def values(*numbers: float, name: str = "auc"):
    """A validation function that returns the given values one after another."""
    left = list(numbers)
    return lambda model: {name: left.pop(0)}


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.state_dict().items(), right.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


# -- the schedule


def test_the_schedule_as_published():
    config = TrainConfig(epochs=100, learning_rate=1e-3)
    result = fit(Net(), Source(), config, validate=values(0.7, 0.8, 0.8 + 5e-7, 0.81, 0.81, 0.8, 0.9))
    # 0.8 + 5e-7 is not better by more than 1e-6; 0.81 is, and sets the counter back; the rate stays where it fell.
    rates = [record.learning_rate for record in result.history]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    assert (result.stopped_because, result.best_epoch, result.best_metrics) == ("patience", 3, {"auc": 0.81})
    assert [record.metrics["auc"] for record in result.history] == [0.7, 0.8, 0.8 + 5e-7, 0.81, 0.81, 0.8]
    assert (result.steps, len(result.history), result.resumed_from) == (42, 6, None)


def test_the_rate_has_a_floor():
    config = TrainConfig(patience=9, learning_rate=1e-3, learning_rate_decay=0.01, min_learning_rate=1e-4)
    result = fit(Net(), Source(2), config, validate=values(*[0.5] * 10))
    assert [record.learning_rate for record in result.history] == pytest.approx([1e-3, 1e-3, *[1e-4] * 8])


def test_smaller_is_better_in_mode_min():
    config = TrainConfig(monitor="logloss", mode="min")
    result = fit(Net(), Source(2), config, validate=values(0.5, 0.4, 0.4, 0.6, 0.1, name="logloss"))
    assert (result.best_epoch, result.best_metrics, len(result.history)) == (1, {"logloss": 0.4}, 4)


def test_no_improvement_in_the_first_epoch_counts():
    result = fit(Net(), Source(2), TrainConfig(), validate=values(-math.inf, -math.inf, 0.9))
    assert (len(result.history), result.best_epoch, result.stopped_because) == (2, None, "patience")


def test_the_best_weights_come_back_and_are_in_the_checkpoint(tmp_path):
    model, kept = Net(), []

    def validate(net: nn.Module) -> dict[str, float]:
        assert not net.training
        assert not torch.is_grad_enabled()
        kept.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return {"auc": [0.5, 0.7, 0.6, 0.6][len(kept) - 1]}

    fit(model, Source(), TrainConfig(), validate=validate, run_folder=tmp_path)
    assert not model.training
    last = load_folder(tmp_path / "checkpoint-000028")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, kept[1][name])
        assert torch.equal(tensor, last.tensors("best")[name])
        assert torch.equal(kept[3][name], last.tensors("model")[name])


def test_without_validation_all_epochs_run_and_the_last_weights_count():
    model = Net()
    result = fit(model, Source(3), TrainConfig(epochs=4))
    assert (result.stopped_because, result.best_epoch, result.steps) == ("epochs", 3, 12)
    assert result.rows_per_second > 0


def test_the_train_loss_is_the_mean_over_rows():
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.at = nn.Parameter(torch.zeros(()))

        def loss(self, batch: Tensor) -> Tensor:
            return batch.mean() + 0 * self.at

    class Uneven:
        def steps(self, epoch: int) -> int:
            return 2

        def batch(self, epoch: int, step: int) -> Tensor:
            return [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([5.0])][step]

    assert fit(Constant(), Uneven(), TrainConfig(epochs=1)).history[0].train_loss == 2.0


# -- same seed, same result


def test_same_seed_same_result_and_another_seed_another():
    models = [Net() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        torch.rand(5)
        fit(model, Source(), TrainConfig(epochs=2, seed=seed))
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_what_validation_draws_does_not_change_training():
    quiet, noisy = Net(), Net()

    def draws(model: nn.Module) -> dict[str, float]:
        torch.rand(3), np.random.rand(2), random.random()  # noqa: NPY002
        return {"auc": len(seen) / 100 if seen.append(1) is None else 0.0}

    seen: list[int] = []
    fit(quiet, Source(), TrainConfig(epochs=3))
    fit(noisy, Source(), TrainConfig(epochs=3), validate=draws)
    assert same(quiet, noisy)


@pytest.mark.parametrize("mode", ["dense", "lazy", "rowwise"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_it_learns(mode, precision):
    class Memory(Net):
        def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            ids, labels = batch
            return functional.binary_cross_entropy_with_logits(self.head(self.table(ids).flatten(1)).squeeze(1), labels)

    class One(Source):
        def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
            return super().batch(0, 0)

    config = TrainConfig(
        epochs=3,
        learning_rate=0.02,
        table_update=mode,
        precision=precision,
        table_learning_rate=0.2,
        gradient_clip=None,
    )
    model = Memory()
    result = fit(model, One(steps=40), config)
    assert result.history[-1].train_loss < 0.1 < 0.5 < result.history[0].train_loss + 0.4
    assert all(weight.dtype is torch.float32 for weight in model.parameters())


def test_bf16_is_used_in_the_linear_layers_only():
    seen: list[torch.dtype] = []

    class Watched(Net):
        def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            hidden = self.table(batch[0]).flatten(1)
            logits = self.head(hidden)
            seen.extend([hidden.dtype, logits.dtype])
            return logits.mean()

    fit(Watched(), Source(1), TrainConfig(epochs=1, precision="bf16"))
    assert seen == [torch.float32, torch.bfloat16]


# -- bad input


def test_a_missing_monitor_is_an_error_with_a_suggestion():
    with pytest.raises(TrainingError, match=r'no metric "auc".*Did you mean "AUC"'):
        fit(Net(), Source(2), TrainConfig(), validate=lambda model: {"AUC": 0.5, "logloss": 0.6})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_monitor_that_is_not_finite_is_an_error(value):
    with pytest.raises(NonFiniteError, match=f'"auc" is {value} after epoch 0'):
        fit(Net(), Source(2), TrainConfig(), validate=values(value))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda model: torch.zeros(3), r"a tensor of shape \(3,\)"),
        (lambda model: torch.zeros(()), "a tensor without a gradient"),
        (lambda model: 1.5, "a float"),
    ],
)
def test_a_loss_that_cannot_be_minimised_is_an_error(loss, words):
    model = Net()
    model.loss = lambda batch: loss(model)  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=rf"Net\.loss returned {words}"):
        fit(model, Source(2), TrainConfig())


@pytest.mark.parametrize("returned", [None, 0.7, {"auc": "high"}, {"auc": None}])
def test_validation_must_return_numbers_by_name(returned):
    with pytest.raises(TrainingError, match="The validation function returned .*mapping of metric names to numbers"):
        fit(Net(), Source(1), TrainConfig(), validate=lambda model: returned)


def test_a_model_without_a_loss_is_refused():
    with pytest.raises(TrainingError, match=r"Linear has no loss.*loss\(batch\)"):
        fit(nn.Linear(2, 2), Source(1), TrainConfig())


def test_no_batches_and_empty_batches_are_errors():
    with pytest.raises(TrainingError, match="Epoch 0 has no batches"):
        fit(Net(), Source(0), TrainConfig())
    with pytest.raises(TrainingError, match="Batch 0 of epoch 0 has no rows"):
        fit(Net(), Source(2, rows=0), TrainConfig())


def test_embeddings_are_given_back_after_success_and_after_failure():
    for broken in (False, True):
        model = Net()
        config = TrainConfig(epochs=1, table_update="lazy")
        if broken:
            with pytest.raises(ZeroDivisionError):
                fit(model, Source(1), config, validate=lambda model: {"auc": 1 / 0})
        else:
            fit(model, Source(1), config)
        assert "forward" not in model.table.__dict__


# -- not finite


class Poisoned(Source):
    def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        ids, labels = super().batch(epoch, step)
        if (epoch, step) == (1, 3):
            labels[5] = math.nan
        return ids, labels


@pytest.mark.parametrize("mode", ["dense", "lazy"])
def test_a_bad_loss_names_the_batch_and_saves_a_reproduction(tmp_path, mode):
    model, before = Net(), []
    config = TrainConfig(epochs=5, table_update=mode)
    source = Poisoned()

    class Spy(Poisoned):
        def batch(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
            before[:] = [{name: tensor.clone() for name, tensor in model.named_parameters()}]
            return super().batch(epoch, step)

    with pytest.raises(NonFiniteError) as caught:
        fit(model, Spy(), config, run_folder=tmp_path)
    text = str(caught.value)
    assert "epoch 1, step 3 (source.batch(1, 3)) the loss is nan" in text
    assert "inputs that are not finite: batch.1" in text
    assert "gradients that are not finite: " in text
    assert "table.weight" in text
    # The update was not applied.
    assert all(torch.equal(weight, before[0][name]) for name, weight in model.named_parameters())
    saved = load_folder(tmp_path / "non-finite-1-3", kind="reproduction")
    ids, labels = source.batch(1, 3)
    assert torch.equal(saved.tensors("batch")["batch.0"], ids)
    assert torch.equal(saved.tensors("batch")["batch.1"].isnan(), labels.isnan())
    report = saved.document("report")
    assert (report["epoch"], report["step"], report["loss"], report["inputs"]) == (1, 3, "nan", ["batch.1"])
    again = Net()
    again.load_state_dict(saved.tensors("weights"))
    assert again.loss(tuple(saved.tensors("batch").values())).isnan()
    # What was saved before stands.
    assert [path.name for path in sorted(tmp_path.glob("checkpoint-*"))] == ["checkpoint-000007"]


def test_a_bad_gradient_of_a_good_loss_is_found():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.good, self.bad = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(2))

        def loss(self, batch: object) -> Tensor:
            return self.good.sum() + self.bad.sqrt().sum()

    with pytest.raises(
        NonFiniteError, match=r"gradient is inf \(loss 2\); gradients that are not finite: bad\."
    ) as caught:
        fit(Root(), Source(1), TrainConfig())
    assert "good" not in str(caught.value)


# -- resume


class CrashError(Exception):
    pass


class Crashing(Net):
    """Fails in the middle of a step, after dropout has drawn and batch norm has counted."""

    fuse = -1

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = super().loss(batch)
        self.fuse -= 1
        if self.fuse == 0:
            raise CrashError
        return loss


def validation(model: nn.Module) -> dict[str, float]:
    """A metric that depends on the weights, rises, and then stalls, so that rates fall and runs stop early."""
    total = sum(weight.abs().sum().item() for weight in model.parameters())
    return {"auc": math.sin(total), "draw": torch.rand(()).item()}


def trained(tmp: Path, fuses: list[int], config: TrainConfig):
    """Fit, crash as often as there are fuses, and fit to the end."""
    for fuse in [*fuses, -1]:
        # Other first weights once there is a checkpoint: everything must come from it.
        model = Crashing(seed=len(list(tmp.glob("checkpoint-*"))))
        model.fuse = fuse
        try:
            return model, fit(model, Source(), config, validate=validation, run_folder=tmp)
        except CrashError:
            continue
    raise AssertionError("unreachable")


@pytest.mark.parametrize("mode", ["dense", "lazy", "rowwise"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, mode):
    config = TrainConfig(
        epochs=3, checkpoint_every=4, table_update=mode, embedding_l2=0.01, learning_rate=0.05, patience=3, log_every=2
    )
    whole, expected = trained(tmp_path / "whole", [], config)
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text()
    table = (tmp_path / "whole" / "metrics.csv").read_text()
    choose = random.Random(mode)
    for trial in range(17):  # three modes: 51 points, the last third of them resumed twice
        fuses = [choose.randint(1, 21)] if trial < 11 else sorted(choose.sample(range(1, 14), 2))
        folder = tmp_path / str(trial)
        model, result = trained(folder, fuses, config)
        assert same(model, whole), fuses
        plain = [(r.epoch, r.steps, r.train_loss, r.metrics, r.learning_rate) for r in result.history]
        assert plain == [(r.epoch, r.steps, r.train_loss, r.metrics, r.learning_rate) for r in expected.history], fuses
        assert (result.best_epoch, result.best_metrics) == (expected.best_epoch, expected.best_metrics)
        assert (result.steps, result.stopped_because) == (expected.steps, expected.stopped_because)
        assert (folder / "metrics.jsonl").read_text() == lines
        assert (folder / "metrics.csv").read_text() == table


def test_the_checkpoints_of_both_are_equal_too(tmp_path):
    config = TrainConfig(epochs=3, checkpoint_every=2)
    trained(tmp_path / "a", [], config)
    trained(tmp_path / "b", [10], config)
    left, right = (load_folder(tmp_path / name / "checkpoint-000021") for name in "ab")
    for group in ("model", "optimiser", "randomness", "best"):
        a, b = left.tensors(group), right.tensors(group)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), group


def test_resume_starts_at_the_checkpoint_and_asks_for_no_batch_twice(tmp_path):
    model = Crashing()
    model.fuse = 12
    config = TrainConfig(epochs=2, checkpoint_every=2)
    with pytest.raises(CrashError):
        fit(model, Source(), config, run_folder=tmp_path)
    source = Source()
    result = fit(Crashing(), source, config, run_folder=tmp_path)
    assert source.calls == [(1, step) for step in range(3, 7)]
    assert result.resumed_from == tmp_path / "checkpoint-000010"
    assert result.steps == 14


def test_a_finished_run_is_not_trained_again_and_epochs_may_grow(tmp_path):
    config = TrainConfig(epochs=2)
    first = Net()
    fit(first, Source(), config, validate=values(0.6, 0.5), run_folder=tmp_path)
    source, again = Source(), Net(seed=9)
    result = fit(again, source, config, validate=values(), run_folder=tmp_path)
    assert source.calls == []
    assert same(first, again)
    assert (result.stopped_because, result.best_epoch, result.steps) == ("epochs", 0, 14)
    longer = fit(Net(), source, config.replace(epochs=3), validate=values(0.7), run_folder=tmp_path)
    assert [epoch for epoch, _ in source.calls] == [2] * 7
    assert (longer.best_epoch, longer.steps, len(longer.history)) == (2, 21, 3)


def test_a_run_that_ran_out_of_patience_stays_finished(tmp_path):
    config = TrainConfig(epochs=9, patience=1)
    fit(Net(), Source(2), config, validate=values(0.6, 0.5), run_folder=tmp_path)
    result = fit(Net(), Source(2), config.replace(epochs=20), validate=values(), run_folder=tmp_path)
    assert (result.stopped_because, len(result.history)) == ("patience", 2)


def test_other_settings_are_refused_by_name(tmp_path):
    config = TrainConfig(epochs=2)
    fit(Net(), Source(2), config, run_folder=tmp_path)
    other = config.replace(learning_rate=0.5, table_update="lazy", epochs=3, keep_checkpoints=1)
    with pytest.raises(CheckpointError) as caught:
        fit(Net(), Source(2), other, run_folder=tmp_path)
    assert "learning_rate was 0.001 and is 0.5; table_update was 'dense' and is 'lazy'." in str(caught.value)
    assert "epochs was" not in str(caught.value)
    with pytest.raises(CheckpointError, match="epochs was 2 and is 1"):
        fit(Net(), Source(2), config.replace(epochs=1), run_folder=tmp_path)


class Dropout(Config):
    dropout: float = 0.3


def test_another_model_or_source_is_refused(tmp_path):
    class Wide(Net):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(V + 1, D)

    Wide.__qualname__ = "Net"
    config = TrainConfig(epochs=2)
    model = Net()
    model.config = Dropout()
    fit(model, Source(2), config, run_folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"model was 'Net' and is 'Crashing'; model.dropout was 0.3 and is None"):
        fit(Crashing(), Source(2), config, run_folder=tmp_path)
    model.config = Dropout(dropout=0.5)
    with pytest.raises(CheckpointError, match=r"model\.dropout was 0\.3 and is 0\.5"):
        fit(model, Source(2), config, run_folder=tmp_path)
    wide = Wide()
    wide.config = Dropout()
    with pytest.raises(CheckpointError, match="do not fit the model"):
        fit(wide, Source(2), config, run_folder=tmp_path)
    model = Net()
    model.config = Dropout()
    fit(model, Source(2), config.replace(epochs=3), run_folder=tmp_path)


def test_other_data_is_refused(tmp_path):
    model = Crashing()
    model.fuse = 5
    config = TrainConfig(epochs=2, checkpoint_every=2)
    with pytest.raises(CrashError):
        fit(model, Source(7), config, run_folder=tmp_path)
    with pytest.raises(CheckpointError, match="had 7 batches; now it has 8"):
        fit(Crashing(), Source(8), config, run_folder=tmp_path)


def test_starting_over_removes_the_old_checkpoints(tmp_path):
    fit(Net(), Source(), TrainConfig(epochs=3), run_folder=tmp_path)
    result = fit(Net(), Source(), TrainConfig(epochs=1, learning_rate=0.1), run_folder=tmp_path, resume=False)
    assert result.resumed_from is None
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-000007"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_a_damaged_newest_checkpoint_is_skipped_with_a_warning(tmp_path, caplog):
    config = TrainConfig(epochs=4, keep_checkpoints=2)
    whole = Net()
    fit(whole, Source(), config, run_folder=tmp_path / "whole")
    fit(Net(), Source(), config.replace(epochs=3), run_folder=tmp_path / "x")
    weights = tmp_path / "x" / "checkpoint-000021" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    again = Net(seed=3)
    with caplog.at_level(logging.WARNING):
        result = fit(again, Source(), config, run_folder=tmp_path / "x")
    assert "checkpoint-000021 is damaged and skipped" in caplog.text
    assert result.resumed_from == tmp_path / "x" / "checkpoint-000014"
    assert same(again, whole)
    assert sorted(path.name for path in (tmp_path / "x").glob("checkpoint-*")) == [
        "checkpoint-000021",
        "checkpoint-000028",
    ]


def test_a_failing_validation_loses_no_training(tmp_path):
    config = TrainConfig(epochs=2)
    with pytest.raises(ZeroDivisionError):
        fit(Net(), Source(), config, validate=lambda model: {"auc": 1 / 0}, run_folder=tmp_path)
    source, resumed, whole = Source(), Net(), Net()
    fit(resumed, source, config, validate=values(0.5, 0.6), run_folder=tmp_path)
    assert source.calls == [(1, step) for step in range(7)]
    fit(whole, Source(), config, validate=values(0.5, 0.6))
    assert same(resumed, whole)


# -- what is written


def test_the_numbers_go_to_the_tracker_and_to_files_by_default(tmp_path):
    class Memory:
        def __init__(self) -> None:
            self.rows: list[tuple[int, dict[str, float]]] = []
            self.closed = False

        def log(self, step: int, values: dict[str, float]) -> None:
            self.rows.append((step, dict(values)))

        def close(self) -> None:
            self.closed = True

    memory = Memory()
    config = TrainConfig(epochs=2, log_every=3)
    fit(Net(), Source(4), config, validate=values(0.5, 0.6), tracker=memory)
    assert [step for step, _ in memory.rows] == [3, 4, 6, 8]
    assert memory.rows[0][1].keys() == {"train/loss", "train/gradient_norm", "train/learning_rate"}
    assert memory.rows[3][1]["validation/auc"] == 0.6
    assert not memory.closed
    fit(Net(), Source(4), config, validate=values(0.5, 0.6), run_folder=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row.pop("step"), row) for row in rows] == memory.rows
    assert (tmp_path / "metrics.csv").read_text().startswith("step,train/loss,")


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(Net(), Source(2), TrainConfig(epochs=1, checkpoint_every=1))
    assert list(tmp_path.iterdir()) == []


def test_only_the_last_checkpoints_stay(tmp_path):
    fit(Net(), Source(7), TrainConfig(epochs=1, checkpoint_every=2, keep_checkpoints=3), run_folder=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert names == ["checkpoint-000004", "checkpoint-000006", "checkpoint-000007"]
