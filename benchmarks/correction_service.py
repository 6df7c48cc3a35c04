"""How quickly the cloud answers devices over loopback: uploads answered in batches against one by one.

Two services run beside each other, each in a process of its own, with the model of the published size (D = 64, h = 4,
m = 10). Devices are threads of this process, each with its own :class:`CorrectionClient`; they ask again as soon as
they are answered. Both services must give the same corrections. The whole takes about a minute.

    python benchmarks/correction_service.py [--smoke]
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from measure import Timing, alternate, row, write
from palate.card import Card, CostFacts, DataFacts
from palate.device.correction_client import CorrectionClient
from palate.sequence.cocorrrec import CoCorrRec, CoCorrRecConfig
from palate.sequence.model_version import model_versions

ITEMS = 1000  # clicks do not cost more in a larger catalogue: only hidden states travel
HISTORY = 10


@dataclass
class Side:
    """A service under load, and how long each request took."""

    port: int
    name: str
    latencies: list[float] = field(default_factory=list)


def model_of_the_published_size() -> CoCorrRec:
    """Return the model that both services have: what it has learned changes no time."""
    torch.manual_seed(0)
    model = CoCorrRec(ITEMS, CoCorrRecConfig.sized("base")).eval()
    with torch.no_grad():
        model.attention_weight.fill_(0.3)
    return model


def serve(port: int, batch: int, milliseconds: float) -> None:
    """Run one of the two services until it is told to end."""
    from palate.serve.app import create_app
    from palate.serve.correction_config import CorrectionConfig
    from palate.serve.server import run_app

    torch.set_num_threads(1)
    facts = DataFacts(
        name="none", fingerprint="", rows=0, users=0, items=ITEMS, split="", split_fingerprint="", train=0,
        validation=0, test=0,
    )  # fmt: skip
    cost = CostFacts(training_seconds=0, epochs=0, parameters=0, megabytes=0)
    card = Card(
        model="cocorrrec", task="next-item", palate="", seed=0, settings={}, training={}, data=facts, protocol="",
        cost=cost,
    )  # fmt: skip
    limits = CorrectionConfig(
        max_batch=batch, batch_milliseconds=milliseconds, session_rate=0, max_queue=2000, seconds=10
    )
    recommender: Any = SimpleNamespace(model=model_of_the_published_size(), card=card)
    run_app(create_app(recommender, serving="corrections", corrections=limits), host="127.0.0.1", port=port, quiet=True)


@contextmanager
def running(name: str, batch: int, milliseconds: float) -> Iterator[Side]:
    """Give a running service, and end it afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--serve", str(port), str(batch), str(milliseconds)]
    process = subprocess.Popen(command)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        else:
            raise RuntimeError("The service did not start.")
        yield Side(port, name)
    finally:
        process.terminate()
        process.wait(20)


def load(side: Side, devices: int, requests: int, hidden: np.ndarray, version: str) -> Timing:
    """Let ``devices`` ask ``requests`` times each; return the time from the first to the last answer."""
    clients = [
        CorrectionClient(f"http://127.0.0.1:{side.port}", model_version=version, timeout=10.0) for _ in range(devices)
    ]
    start, failures = threading.Barrier(devices + 1), []

    def work(number: int) -> None:
        client, mine = clients[number], []
        start.wait()
        for seq_no in range(requests):
            began = time.perf_counter()
            if client.request(hidden[number % len(hidden)], seq_no) is None:
                failures.append(dict(client.outcomes))
            mine.append(time.perf_counter() - began)
        side.latencies.extend(mine)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(devices)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    for client in clients:
        client.close()
    if failures:
        raise RuntimeError(f"{len(failures)} requests failed: {failures[0]}")
    return Timing(seconds, None)


def same_corrections(sides: list[Side], hidden: np.ndarray, version: str) -> float:
    """Return the largest difference between what both services answer."""
    answers = []
    for side in sides:
        url = f"http://127.0.0.1:{side.port}"
        with CorrectionClient(url, model_version=version, dtype="f32", timeout=10.0) as client:
            answers.append([client.request(one, 1) for one in hidden])
    pairs = zip(*answers, strict=True)
    return max(float(np.abs(one.attention - two.attention).max()) for one, two in pairs if one and two)


def milliseconds(latencies: list[float]) -> dict[str, float]:
    """Return percentiles of the times of requests."""
    p50, p95, p99 = (float(np.percentile(latencies, q)) * 1000 for q in (50, 95, 99))
    return {"p50 ms": round(p50, 2), "p95 ms": round(p95, 2), "p99 ms": round(p99, 2)}


def main() -> None:
    """Put both services under the same loads in turns and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a few seconds, written nowhere")
    parser.add_argument("--serve", nargs=3, metavar=("PORT", "BATCH", "MILLISECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(int(options.serve[0]), int(options.serve[1]), float(options.serve[2]))
        return
    model = model_of_the_published_size()
    version = model_versions(model).hidden
    items = torch.randint(1, ITEMS + 1, (64, HISTORY), generator=torch.Generator().manual_seed(0))
    hidden = model.hidden(items).detach().numpy()
    rows, repeats = [], 1 if options.smoke else 5
    with running("batched", 32, 5.0) as batched, running("one by one", 1, 0.0) as single:
        difference = same_corrections([batched, single], hidden[:8], version)
        if difference > 1e-5:
            raise RuntimeError(f"The services differ by {difference}.")
        # A lonely device waits for nobody and pays for it: that row is expected to miss its target.
        for devices, requests in ((64, 4 if options.smoke else 20), (8, 20), (1, 50)):
            for side in (batched, single):
                load(side, devices, requests, hidden, version)
                side.latencies.clear()
            measured = alternate(
                lambda d=devices, r=requests: load(batched, d, r, hidden, version),
                lambda d=devices, r=requests: load(single, d, r, hidden, version),
                repeats=repeats,
                warmups=0,
            )
            told = {
                "devices": devices,
                "batched": milliseconds(batched.latencies),
                "one by one": milliseconds(single.latencies),
                "within 100 ms": float(np.mean(np.array(batched.latencies) < 0.1)),
                "largest difference of answers": difference,
            }
            print(f"{devices} devices: batched {told['batched']}, one by one {told['one by one']}")
            rows.append(
                row(
                    f"{devices} devices asking at once: batches of up to 32 or 5 ms against one by one",
                    measured,
                    amount=devices * requests,
                    unit="corrections/s",
                    peer_name="the same service, one by one",
                    target=1.0,
                    facts=told,
                )
            )
    if not options.smoke:
        write("correction_service", rows)


if __name__ == "__main__":
    main()
