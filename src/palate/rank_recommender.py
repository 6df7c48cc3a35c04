"""A ranker ready to use: rows in, scores (and, once calibrated, probabilities) out; and the best items for a user."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import polars as pl
import torch

from palate.card import Card
from palate.catalogue import Catalogue
from palate.data.encoder import FeatureEncoder
from palate.data.history import HistoryLog
from palate.data.rank_table import RankTable, iterate
from palate.data.split import Split
from palate.errors import ConfigError, SchemaError
from palate.rank.contract import Ranker
from palate.recommender import (
    FloatArray,
    Item,
    Recommendation,
    RecommendedList,
    Recommender,
    Scores,
    Unknown,
    check_unknown,
    check_who,
    load_calibrator,
    saved_calibrator,
)
from palate.registry import find
from palate.saving import SavedFolder, save_folder
from palate.tasks import sampled
from palate.users_log import UsersLog

if TYPE_CHECKING:
    from palate.calibrate.contract import Calibrator
    from palate.data.dataset import Dataset
    from palate.evaluate.report import MetricTable

__all__ = ["RankRecommender", "logits_of"]

_ROWS_AT_ONCE = 8192


def logits_of(model: Ranker, table: RankTable) -> FloatArray:
    """Return the logits of every row, float64 ``[N]``, in batches; the size of a batch changes nothing."""
    logits = np.empty(len(table))
    start = 0
    training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in iterate(table, _ROWS_AT_ONCE):
            logits[start : start + len(batch)] = model(batch).double().numpy()
            start += len(batch)
    model.train(training)
    return logits


class RankRecommender(Recommender):
    """A fitted ranker with its feature encoder, catalogue, users' log, calibrator and card.

    Made by :func:`palate.fit`. A row without a time is scored as of now, so its user's whole history counts.
    """

    task = "rank"

    def __init__(
        self,
        model: Ranker,
        encoder: FeatureEncoder,
        catalogue: Catalogue | None,
        users: UsersLog | None,
        card: Card,
        *,
        split: Split,
        history: HistoryLog | None = None,
        calibrator: Calibrator | None = None,
        dataset: Dataset | None = None,
    ) -> None:
        self.model = model.eval()
        self.encoder = encoder
        self.catalogue = catalogue
        self.users = users
        self.card = card
        self.split = split
        self.history = history
        self.calibrator = calibrator
        self._dataset = dataset
        self._candidates: RankTable | None = None

    def score(self, rows: Any) -> Scores:
        """Return one score per row (the logit) and, once calibrated, its probability.

        Args:
            rows: A Polars or pandas frame, or a list of dicts, with the columns of the log. A column of the
                catalogue is found by the item's id, or given as ``items.COLUMN``. Missing columns read as missing.

        Raises:
            SchemaError: If a row has neither user nor item, or a column that the model does not know.
        """
        logits = logits_of(self.model, self.encode(_frame(rows)))
        return Scores(self.corrected(logits), self.probabilities(logits))

    def corrected(self, logits: FloatArray) -> FloatArray:
        """Return logits without the effect of sampled negatives: ``z + ln(rate)``."""
        sampling = self.card.sampling
        return logits if sampling is None else logits + np.log(sampling.rate)

    def encode(self, frame: pl.DataFrame) -> RankTable:
        """Return rows as the model sees them."""
        columns = self.encoder.columns
        keys = [name for name in (columns.user, columns.item) if name is not None]
        if len(frame) and keys and not any(name in frame.columns for name in keys):
            told = " nor ".join(f'"{name}"' for name in keys)
            raise SchemaError(
                f"The rows have neither {told}; they have {', '.join(frame.columns) or 'no column'}.",
                remedy=f'Name them as in the log, for example {{"{keys[0]}": ..., "{keys[-1]}": ...}}.',
            )
        if columns.time is not None and columns.time not in frame.columns:
            frame = frame.with_columns(pl.lit(int(time.time())).alias(columns.time))
        return self.encoder.encode(frame, history=self.history, missing="oov")

    def probabilities(self, logits: FloatArray) -> FloatArray | None:
        """Return calibrated probabilities of logits, or ``None`` without a calibrator.

        Where negatives were sampled, the odds are corrected by the sampling rate.
        """
        chances = self.calibrated(logits)
        sampling = self.card.sampling
        if chances is None or sampling is None:
            return chances
        return sampling.rate * chances / (sampling.rate * chances + 1 - chances)

    def calibrated(self, logits: FloatArray) -> FloatArray | None:
        """Return what the calibrator makes of logits, in the world of the rows it was fitted on."""
        return None if self.calibrator is None else self.calibrator.predict(_sigmoid(logits))

    def recommend(
        self,
        *,
        user: Item | None = None,
        history: Sequence[Item] | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        unknown: Unknown = "error",
    ) -> RecommendedList:
        """Score the whole catalogue for a user and return the ``k`` best; see the base class."""
        check_who(user, history, k)
        check_unknown(unknown)
        if self.catalogue is None or self.users is None:
            raise ConfigError(
                f"{self.card.model} was fitted on rows without users or items: it scores rows and recommends nothing.",
                remedy="Declare both when the data is opened: user=COLUMN, item=COLUMN.",
            )
        given, ignored = self.catalogue.resolve(history or [], unknown=unknown)
        known = user is not None and self.users.knows(user)
        seen = given if history is not None or user is None else self.users.items_of(user)
        logits = logits_of(self.model, self._for_user(self.catalogue, user, given if history is not None else None))
        scores = self.corrected(logits)
        order_by = scores.copy()
        if exclude_seen:
            order_by[np.asarray(seen, dtype=np.int64) - 1] = -np.inf
        best = np.argsort(-order_by, kind="stable")[:k]
        best = best[np.isfinite(order_by[best])]
        probabilities = self.probabilities(logits[best])
        items = [
            Recommendation(
                rank,
                self.catalogue.item(place + 1),
                self.catalogue.title(place + 1),
                float(scores[place]),
                None if probabilities is None else float(probabilities[rank - 1]),
            )
            for rank, place in enumerate(best.tolist(), start=1)
        ]
        return RecommendedList(items, user_known=known, ignored=ignored)

    def evaluate(self, data: Dataset | None = None, *, part: Literal["validation", "test"] = "test") -> MetricTable:
        """Judge on a held-out part: AUC and GAUC of the scores, log loss and calibration of the probabilities."""
        table = self.held_out(data, part)
        return self.judge(logits_of(self.model, table), table, part)

    def judge(self, logits: FloatArray, table: RankTable, part: str) -> MetricTable:
        """Return the metrics of ``logits`` on encoded rows with labels."""
        from palate.evaluate.rows import evaluate_ranker

        assert table.labels is not None
        groups = table.users
        order = ["auc", "gauc"] if groups is not None else ["auc"]
        truth = ["log_loss", "brier", "ece", "pcoc"]
        measured: dict[str, Any] = {"labels": table.labels, "groups": groups, "split": part, "seeds": (self.card.seed,)}
        areas = evaluate_ranker(logits, metrics=order, **measured)
        chances = self.calibrated(logits)
        if chances is None:
            errors = evaluate_ranker(logits, metrics=truth, **measured)
        else:
            errors = evaluate_ranker(chances, kind="probabilities", metrics=truth, **measured)
        return replace(errors, results=areas.results + errors.results)

    def held_out(self, data: Dataset | None, part: Literal["validation", "test"]) -> RankTable:
        """Return the encoded rows of a part of the data set that this was fitted on.

        Raises:
            ConfigError: If no data set is at hand, or it is not the one of the card.
        """
        dataset = data if data is not None else self._dataset
        if dataset is None:
            raise ConfigError(
                "A loaded recommender does not carry its data.", remedy="Give the data set: rec.evaluate(data)."
            )
        if data is not None and data.fingerprint != self.card.data.fingerprint:
            raise ConfigError(
                f'"{data.name}" is not the data set that this was fitted on ("{self.card.data.name}").',
                remedy="Open the same data set, or score its rows with score(rows).",
            )
        labelled = sampled(dataset, self.split, seed=0 if self.card.sampling is None else self.card.sampling.seed)
        assert labelled.split is not None
        return self.encoder.encode_dataset(labelled.dataset, labelled.split.part(part), history=self.history)

    def with_calibrator(self, name: str, calibrator: Calibrator | None, card: Card) -> Self:
        """Return the same ranker with another calibrator and card."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.calibrator, copy.card = calibrator, card
        return copy

    def save(self, path: str | Path) -> Path:
        """Write the recommender as a folder; see :mod:`palate.saving`."""
        documents, arrays = self.encoder.to_saved()
        documents |= {"card": self.card.model_dump(), "split": _split_document(self.split)}
        arrays |= {"split": {part: self.split.part(part) for part in ("train", "validation", "test")}}
        if self.users is not None and self.catalogue is not None:
            arrays |= {"users": self.users.to_arrays(), "catalogue": self.catalogue.to_arrays()}
        if self.history is not None:
            arrays["history"] = self.history.to_arrays()
        if self.calibrator is not None and self.card.calibration is not None:
            document, learned = saved_calibrator(self.card.calibration.method, self.calibrator)
            documents["calibrator"] = document
            arrays |= {"calibrator": learned} if learned else {}
        return save_folder(
            path,
            kind="recommender",
            name=self.card.model,
            documents=documents,
            arrays=arrays,
            tensors={"model": self.model.state_dict()},
            texts={"CARD.md": self.card.to_markdown()},
        )

    @classmethod
    def from_folder(cls, folder: SavedFolder, card: Card) -> Self:
        """Rebuild from an opened folder."""
        encoder = FeatureEncoder.from_saved(
            {"features": folder.document("features")}, {"features": folder.arrays("features")}
        )
        factory: Any = find("ranker", card.model).factory
        config = factory.Config.model_validate(card.settings)
        model: Ranker = factory(encoder.spec, config, vectors=encoder.vectors or None)
        model.load_state_dict(folder.tensors("model"))
        rows, saved = folder.arrays("split"), folder.document("split")
        split = Split(rows["train"], rows["validation"], rows["test"], how=saved["how"], settings=saved["settings"])
        history = HistoryLog.from_arrays(folder.arrays("history")) if folder.has("history.safetensors") else None
        return cls(
            model,
            encoder,
            Catalogue.from_arrays(folder.arrays("catalogue")) if folder.has("catalogue.safetensors") else None,
            UsersLog.from_arrays(folder.arrays("users")) if folder.has("users.safetensors") else None,
            card,
            split=split,
            history=history,
            calibrator=load_calibrator(folder),
        )

    def _for_user(self, catalogue: Catalogue, user: Item | None, history: Sequence[int] | None) -> RankTable:
        """Return the catalogue as rows for one user: item columns are encoded once, the user's for each request."""
        columns = self.encoder.columns
        if self._candidates is None:
            frame = pl.DataFrame({str(columns.item): catalogue.ids})
            self._candidates = self.encoder.encode(frame, missing="oov")
        row = pl.DataFrame({str(columns.user): [user]})
        if columns.time is not None:
            row = row.with_columns(pl.lit(int(time.time())).alias(columns.time))
        if history is not None:
            ids = [[str(catalogue.item(number)) for number in history]]
            names = [field.name for field in self.encoder.plan.fields if field.derive == "history"]
            row = row.with_columns(pl.Series(name, ids, dtype=pl.List(pl.String)) for name in names)
        return self._join(self.encoder.encode(row, history=self.history, missing="oov"), self._candidates)

    def _join(self, user: RankTable, items: RankTable) -> RankTable:
        """Return ``items`` with the columns that belong to the user taken from the one row of ``user``."""
        spec, rows = self.encoder.spec, len(items)
        of_item = {f.name for f in self.encoder.plan.fields if self._belongs_to_item(f)}

        def mixed(kind: Literal["categorical", "numeric"], theirs: Any, ours: Any) -> Any:
            if ours is None:
                return None
            table = ours.copy()
            places = [place for place, field in enumerate(spec.of_kind(kind)) if field.name not in of_item]
            table[:, places] = theirs[:, places]
            return table

        sequences = tuple(
            ours if field.name in of_item else np.broadcast_to(theirs, (rows, theirs.shape[1]))
            for field, theirs, ours in zip(spec.of_kind("sequence"), user.sequences, items.sequences, strict=True)
        )
        return items.replace(
            ids=mixed("categorical", user.ids, items.ids),
            numeric=mixed("numeric", user.numeric, items.numeric),
            sequences=sequences,
        )

    def _belongs_to_item(self, field: Any) -> bool:
        if field.kind == "vector" or field.table == "items":
            return True
        return field.table == "interactions" and field.derive is None and field.source == self.encoder.columns.item


def _sigmoid(logits: FloatArray) -> FloatArray:
    from scipy.special import expit

    return np.asarray(expit(logits), dtype=np.float64)


def _frame(rows: Any) -> pl.DataFrame:
    if isinstance(rows, pl.DataFrame):
        return rows
    if isinstance(rows, Sequence):
        return pl.from_dicts(list(rows), infer_schema_length=None) if rows else pl.DataFrame()
    from palate.data.tables import as_lazy_frame

    return as_lazy_frame(rows, "interactions").collect()


def _split_document(split: Split) -> dict[str, Any]:
    return {"how": split.how, "settings": dict(split.settings), "fingerprint": split.fingerprint}
