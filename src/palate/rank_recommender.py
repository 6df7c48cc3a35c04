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
from palate.data.context_columns import ContextColumns
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

Tokens = np.ndarray[Any, Any]
IntArray = np.ndarray[Any, np.dtype[np.int64]]
_ROWS_AT_ONCE = 2048  # what a layer of a few hundred units makes of them stays in the processor's cache


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
    """A fitted ranker with its feature encoder, catalogue, users' log, calibrator (with its context) and card.

    Made by :func:`palate.fit`. A row without a time is scored as of now, so its user's whole history counts, and its
    weekday is today's. Lists are in the order of the scores; where the calibrator knows a context, the probabilities of
    a list may stand in another order.
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
        context: ContextColumns | None = None,
        dataset: Dataset | None = None,
    ) -> None:
        _require_facts(calibrator, context, card)
        self.model = model.eval()
        self.encoder = encoder
        self.catalogue = catalogue
        self.users = users
        self.card = card
        self.split = split
        self.history = history
        self.calibrator = calibrator
        self.context = context
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
        frame = self._timed(_frame(rows))
        logits = logits_of(self.model, self.encode(frame))
        return Scores(self.corrected(logits), self.probabilities(logits, self.context_of(frame)))

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
        return self.encoder.encode(self._timed(frame), history=self.history, missing="oov")

    def context_of(self, frame: pl.DataFrame) -> Tokens | None:
        """Return the context of rows for the calibrator, ``[N, F]``, or ``None`` when it uses none."""
        return None if self.context is None else self.context.of(self._timed(frame))

    def probabilities(self, logits: FloatArray, context: Tokens | None = None) -> FloatArray | None:
        """Return calibrated probabilities of logits in their context, or ``None`` without a calibrator.

        Where negatives were sampled, the odds are corrected by the sampling rate.
        """
        chances = self.calibrated(logits, context)
        sampling = self.card.sampling
        if chances is None or sampling is None:
            return chances
        return sampling.rate * chances / (sampling.rate * chances + 1 - chances)

    def calibrated(self, logits: FloatArray, context: Tokens | None = None) -> FloatArray | None:
        """Return what the calibrator makes of logits, in the world of the rows it was fitted on."""
        return None if self.calibrator is None else self.calibrator.predict(_sigmoid(logits), context)

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
        logits = logits_of(self.model, self.candidates(user=user, history=given if history is not None else None))
        scores = self.corrected(logits)
        order_by = scores.copy()
        if exclude_seen:
            order_by[np.asarray(seen, dtype=np.int64) - 1] = -np.inf
        best = _largest(order_by, k)
        context = None
        if self.context is not None and len(best):
            ids = pl.DataFrame(
                {str(self.encoder.columns.item): [self.catalogue.item(place + 1) for place in best.tolist()]}
            )
            context = self.context_of(ids.with_columns(pl.lit(user).alias(str(self.encoder.columns.user))))
        probabilities = self.probabilities(logits[best], context)
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
        context = self.held_out_context(self.context, data, part)
        return self.judge(logits_of(self.model, table), table, part, context)

    def judge(self, logits: FloatArray, table: RankTable, part: str, context: Tokens | None = None) -> MetricTable:
        """Return the metrics of ``logits`` on encoded rows with labels, in the context of those rows."""
        from palate.evaluate.rows import evaluate_ranker

        assert table.labels is not None
        groups = table.users
        order = ["auc", "gauc"] if groups is not None else ["auc"]
        truth = ["log_loss", "brier", "ece", "pcoc"]
        measured: dict[str, Any] = {"labels": table.labels, "groups": groups, "split": part, "seeds": (self.card.seed,)}
        areas = evaluate_ranker(logits, metrics=order, **measured)
        chances = self.calibrated(logits, context)
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
        return self.encoder.encode_dataset(*self._part(data, part), history=self.history)

    def held_out_context(
        self, context: ContextColumns | None, data: Dataset | None, part: Literal["validation", "test"]
    ) -> Tokens | None:
        """Return the context of the rows of :meth:`held_out`, ``[N, F]``; ``None`` for no columns."""
        return None if context is None else context.of_dataset(*self._part(data, part))

    def source(self, data: Dataset | None = None) -> Dataset:
        """Return the data set that this was fitted on.

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
        return dataset

    def _part(self, data: Dataset | None, part: Literal["validation", "test"]) -> tuple[Dataset, IntArray]:
        """Return the data set with its negatives, and the rows of a part."""
        seed = 0 if self.card.sampling is None else self.card.sampling.seed
        labelled = sampled(self.source(data), self.split, seed=seed)
        assert labelled.split is not None
        return labelled.dataset, labelled.split.part(part)

    def _timed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return rows with a time: now, where they have none."""
        column = self.encoder.columns.time
        if column is None or column in frame.columns:
            return frame
        return frame.with_columns(pl.lit(int(time.time())).alias(column))

    def with_calibrator(self, calibrator: Calibrator | None, card: Card, context: ContextColumns | None = None) -> Self:
        """Return the same ranker with another calibrator, its context and its card.

        Raises:
            ConfigError: If the card does not tell how the calibrator was measured.
        """
        _require_facts(calibrator, context, card)
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.calibrator, copy.context, copy.card = calibrator, context, card
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
            if self.context is not None:
                of_context, learned_context = self.context.to_saved()
                documents, arrays = {**documents, **of_context}, {**arrays, **learned_context}
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
            context=_saved_context(folder),
        )

    def candidates(self, *, user: Item | None = None, history: Sequence[int] | None = None) -> RankTable:
        """Return the whole catalogue as rows for one user, now; what :meth:`recommend` scores.

        Columns of items are encoded once, those of the user for each request. What the user brings to all rows, the
        history above all, is one row in memory that the model looks up once.

        Args:
            user: The user, or ``None`` for nobody in particular.
            history: Numbers of items in the catalogue, in place of the user's own history.

        Raises:
            ConfigError: If the ranker has no catalogue.
        """
        catalogue, columns = self.catalogue, self.encoder.columns
        if catalogue is None:
            raise ConfigError(f"{self.card.model} was fitted on rows without items: it has no candidates.")
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


def _require_facts(calibrator: Calibrator | None, context: ContextColumns | None, card: Card) -> None:
    """Refuse probabilities without a card that says how right they are, and in which context."""
    facts = card.calibration
    if calibrator is not None and facts is None:
        raise ConfigError(
            "The card does not say how well the calibrator does.",
            remedy="Calibrate with palate.fitting.calibrate_ranker, which measures it.",
        )
    names = () if context is None else context.names
    if facts is not None and calibrator is not None and facts.context != names:
        raise ConfigError(f"The card names the context {list(facts.context)}; the calibrator has {list(names)}.")


def _saved_context(folder: SavedFolder) -> ContextColumns | None:
    if not folder.has("context.json"):
        return None
    return ContextColumns.from_saved({"context": folder.document("context")}, {"context": folder.arrays("context")})


def _largest(values: FloatArray, k: int) -> IntArray:
    """Return the places of the ``k`` largest finite values, largest first, equal ones in their order."""
    places = np.flatnonzero(np.isfinite(values))
    if k < len(places):
        least = np.partition(values[places], len(places) - k)[len(places) - k]
        places = places[values[places] >= least]
    return places[np.argsort(-values[places], kind="stable")[:k]]


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
