"""The peers' side of sequence.py: Cornac's SASRec and GRU4Rec, and RecTools' SASRec, by their own training and ranking.

Each package trains in one call of its ``fit``, which runs here on a thread that waits between two epochs.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from peers import serve

held: dict[str, Any] = {}


class Epochs:
    """Lets ``fit`` train one epoch whenever it is asked to; only what lies between begin and end is timed."""

    def __init__(self, fit: Callable[[], Any]) -> None:
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._taken: dict[str, float] | BaseException = {}
        self._began = 0.0, 0.0
        self._thread = threading.Thread(target=self._run, args=(fit,), daemon=True)

    def begin(self) -> None:
        """Wait for the turn (called by the thread that trains)."""
        self._go.acquire()
        self._began = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Hand the turn back (called by the thread that trains)."""
        wall, cpu = self._began
        self._taken = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        self._done.release()

    def start(self) -> None:
        """Let the training begin, up to the first epoch."""
        self._thread.start()

    def turn(self) -> dict[str, float]:
        """Train one epoch and return the seconds it took."""
        self._go.release()
        self._done.acquire()
        if isinstance(self._taken, BaseException):
            raise self._taken
        return self._taken

    def finish(self) -> None:
        """Wait until ``fit`` has returned, after the last epoch."""
        self._thread.join()
        if isinstance(self._taken, BaseException):
            raise self._taken

    def _run(self, fit: Callable[[], Any]) -> None:
        try:
            fit()
        except BaseException as error:  # the thread that asked for the turn raises it
            self._taken = error
            self._done.release()


class Range:
    """Stands in for the progress bar over Cornac's epochs: the same numbers, with a wait before each."""

    def __init__(self, first: int, stop: int, **_: Any) -> None:
        self._numbers = range(first, stop)

    def __iter__(self) -> Iterator[int]:
        for number in self._numbers:
            held["epochs"].begin()
            yield number
            held["epochs"].end()

    def set_postfix(self, **_: Any) -> None:
        """Show nothing."""


class Log:
    """The same histories that ours are given: items 1..V of user ``u`` are ``items[offsets[u]:offsets[u + 1]]``."""

    def __init__(self, arrays: Any, name: str) -> None:
        self.items, self.offsets = arrays[f"{name}_items"], arrays[f"{name}_offsets"]
        self.users = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def rows(self) -> list[list[int]]:
        """Return the items of each user."""
        return [row.tolist() for row in np.split(self.items, self.offsets[1:-1])]


class Cornac:
    """Cornac ranks one user at a time; candidates are the items outside the history."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        from cornac.data import SequentialDataset
        from cornac.models import GRU4Rec, SASRec
        from cornac.models.gru4rec import recom_gru4rec
        from cornac.models.sasrec import recom_sasrec

        recom_sasrec.trange = recom_gru4rec.trange = Range
        self.model = {"sasrec": SASRec, "gru4rec": GRU4Rec}[model](verbose=False, **settings)
        log: Log = held["train"]
        numbers = OrderedDict((item, item - 1) for item in range(1, held["num_items"] + 1))
        places = np.arange(len(log.items))
        table = list(zip(log.users.tolist(), log.users.tolist(), log.items.tolist(), places.tolist()))  # noqa: B905
        self.data = SequentialDataset.build(table, fmt="USIT", global_iid_map=numbers, seed=0)

    def fit(self) -> None:
        """Train by Cornac's own loop."""
        self.model.fit(self.data)

    def prepare(self) -> list[list[int]]:
        """Return the histories in Cornac's numbers."""
        return [[item - 1 for item in row] for row in held["histories"].rows()]

    def rank(self, histories: list[list[int]], k: int) -> list[Any]:
        """Return the best unseen items of each user."""
        best = []
        for user, history in enumerate(histories):
            unseen = np.ones(held["num_items"], dtype=bool)
            unseen[history] = False
            ranked, _ = self.model.rank(user, np.flatnonzero(unseen), k=k, history_items=history[-held["length"] :])
            best.append(ranked[:k])
        return best

    def lists(self, best: list[Any], k: int) -> Any:
        """Return the lists in the common numbers, ``[U, k]``."""
        return np.stack(best)[:, :k] + 1


class RecTools:
    """RecTools trains by Lightning and ranks all users in one call."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        from pytorch_lightning import seed_everything
        from rectools.models import SASRecModel

        assert model == "sasrec"
        seed_everything(0)
        held["max_epochs"] = settings["epochs"]
        self.model = SASRecModel(get_trainer_func=trainer, **settings)
        self.data = dataset(held["train"])

    def fit(self) -> None:
        """Train by Lightning."""
        self.model.fit(self.data)

    def prepare(self) -> Any:
        """Return the histories as RecTools' data set."""
        return dataset(held["histories"])

    def rank(self, histories: Any, k: int) -> Any:
        """Return the best unseen items of each user, as a table."""
        users = np.arange(len(held["histories"].offsets) - 1)
        return self.model.recommend(users=users, dataset=histories, k=k, filter_viewed=True)

    def lists(self, best: Any, k: int) -> Any:
        """Return the lists in the common numbers, ``[U, k]``; 0 where there is none."""
        lists = np.zeros((len(held["histories"].offsets) - 1, k), dtype=np.int64)
        lists[best["user_id"].to_numpy(int), best["rank"].to_numpy(int) - 1] = best["item_id"].to_numpy(int)
        return lists


def trainer() -> Any:
    """Return RecTools' default trainer of one process, with a wait before each epoch."""
    from pytorch_lightning import Callback, Trainer

    class Waiting(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            held["epochs"].begin()

        def on_train_epoch_end(self, *_: Any) -> None:
            held["epochs"].end()

    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return Trainer(
        max_epochs=held["max_epochs"], min_epochs=held["max_epochs"], accelerator="cpu", callbacks=[Waiting()], **quiet
    )


def dataset(log: Log) -> Any:
    """Return RecTools' data set of a log; the places in it are the times."""
    import pandas as pd
    from rectools.dataset import Dataset

    times = pd.to_datetime(np.arange(len(log.items)), unit="s")
    table = pd.DataFrame({"user_id": log.users, "item_id": log.items, "weight": 1.0, "datetime": times})
    return Dataset.construct(table)


def load(path: str, length: int) -> None:
    """Take the logs, and how many of the last items a model reads."""
    held["length"] = length
    with np.load(path) as arrays:
        held["train"], held["histories"] = Log(arrays, "train"), Log(arrays, "histories")
        held["num_items"] = int(arrays["num_items"])


def build(package: str, model: str, settings: dict[str, Any]) -> None:
    """Prepare data and model, and let the training wait at its first epoch."""
    held["side"] = {"cornac": Cornac, "rectools": RecTools}[package](model, settings)
    held["epochs"] = Epochs(held["side"].fit)
    held["epochs"].start()


def train_epoch() -> dict[str, float]:
    """Train one epoch."""
    seconds: dict[str, float] = held["epochs"].turn()
    return seconds


def finish() -> None:
    """End the training and prepare the histories to rank for; this is not part of any timing."""
    held["epochs"].finish()
    held["prepared"] = held["side"].prepare()


def rank(path: str, k: int) -> dict[str, float]:
    """Rank for all users and store the lists; timed is the package's work alone."""
    start, cpu = time.perf_counter(), time.process_time()
    best = held["side"].rank(held["prepared"], k)
    taken = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    np.save(path, held["side"].lists(best, k))
    return taken


if __name__ == "__main__":
    serve({"load": load, "build": build, "train_epoch": train_epoch, "finish": finish, "rank": rank})
