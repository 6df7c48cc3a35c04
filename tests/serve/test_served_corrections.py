"""The whole way: a fitted run, ``palate serve`` in a process of its own, a device with its client and its step."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import palate
from palate.device.correction import Correction
from palate.device.correction_client import CorrectionClient
from palate.device.upload_noise import UploadNoise
from palate.device.upload_summary import UploadSummary
from palate.sequence.cocorrrec import CoCorrRec
from palate.sequence.device_step import CorrectedDeviceStep, CorrectedState, DeviceStep
from palate.sequence.model_version import model_versions
from palate.testing.recommenders import small_log

TOKEN = "open-sesame"
EVERY = 5


class Served:
    """A running service."""

    def __init__(self, run: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        code = "import sys; from palate.cli.app import run; sys.exit(run(sys.argv[1:]))"
        words = [sys.executable, "-c", code, "serve", str(run), "--port", "0", "--session-rate", "0", *options]
        self.process = subprocess.Popen(
            words,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.log: list[str] = []
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                self.url = found[1]
                break
        else:
            raise AssertionError("".join(self.log))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self.log.extend(self.process.stderr)

    def status(self, path: str) -> int:
        try:
            return urllib.request.urlopen(self.url + path, timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(5)
        return code


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    settings = {"embedding_size": 16, "num_heads": 2, "mini_batch_size": 4, "sync_every": EVERY, "max_length": 20}
    recommender = palate.fit(small_log(), "cocorrrec", settings=settings, training={"epochs": 2})
    with torch.no_grad():  # P starts at 0 and moves slowly; here it must show
        recommender.model.attention_weight.fill_(0.5)
        recommender.model.bias_weight.fill_(0.7)
    folder = tmp_path_factory.mktemp("runs") / "phone"
    recommender.save(folder)
    return folder


@pytest.fixture(scope="module")
def model(fitted) -> CoCorrRec:
    return palate.load(fitted).model


@pytest.fixture(scope="module")
def served(fitted) -> Iterator[Served]:
    service = Served(fitted, "--batch-milliseconds", "1", environment={"PALATE_TOKEN": TOKEN})
    yield service
    service.stop()


def client_of(served: Served, model: CoCorrRec, **settings: object) -> CorrectionClient:
    version = getattr(model_versions(model), "summary" if settings.get("upload") == "summary" else "hidden")
    given = {"model_version": version, "token": TOKEN, "timeout": 5.0, "shape": model.gcn.bias_shape, **settings}
    return CorrectionClient(served.url, **given)


def walk(model: CoCorrRec, items: torch.Tensor, ask, *, ttl: int | None = None) -> torch.Tensor:
    """Click through ``items``; after every fifth, ``ask`` for a correction. Return the users' states, ``[N, D]``."""
    step, state, states = CorrectedDeviceStep(model), CorrectedState.initial(model), []
    heads, tokens, width = model.gcn.bias_shape
    held = Correction.none(heads, tokens, width)
    with torch.no_grad():
        for seen in range(items.shape[1]):
            if seen and seen % EVERY == 0:
                held = ask(model.hidden(items[:, :seen])[0].numpy(), seen) or held
            inputs = [torch.from_numpy(part) for part in held.inputs(seen)]
            user, *state = step(items[:, seen], *state, *inputs)
            states.append(user[0])
    return torch.stack(states)


def some_items(model: CoCorrRec, length: int = 14) -> torch.Tensor:
    return torch.randint(1, model.num_items + 1, (1, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("dtype", "tolerance"), [("f32", 1e-4), ("f16", 2e-2)])
def test_a_device_with_a_cloud_computes_what_the_model_computes_in_one_process(served, model, dtype, tolerance):
    items = some_items(model)
    with client_of(served, model, dtype=dtype) as client, torch.no_grad():
        states = walk(model, items, client.request)
        expected = model.encode(items, torch.tensor([14]))[0]
        model.lag = None
        alone = model.encode(items, torch.tensor([14]))[0]
        model.lag = 0
    assert dict(client.outcomes) == {"ok": 2}
    torch.testing.assert_close(states, expected, atol=tolerance, rtol=tolerance)
    # the corrections are what makes the difference
    assert (expected - alone)[EVERY:].abs().max() > 10 * tolerance


def test_summaries_give_the_same_corrections_for_a_constant_upload(served, model):
    items = some_items(model)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    with client_of(served, model, dtype="f32", upload="summary", summary=UploadSummary(weights)) as client:
        states = walk(model, items, client.request)
    with torch.no_grad():
        torch.testing.assert_close(states, model.encode(items, torch.tensor([14]))[0], atol=1e-4, rtol=1e-4)
    assert dict(client.outcomes) == {"ok": 2}


def test_noise_changes_the_correction_and_nothing_else(served, model):
    items = some_items(model)
    with client_of(served, model, upload="noise", noise=UploadNoise(3.0, clip=4.0, secret=bytes(32))) as client:
        states = walk(model, items, client.request)
    with torch.no_grad():
        expected = model.encode(items, torch.tensor([14]))[0]
    torch.testing.assert_close(states[:EVERY], expected[:EVERY], atol=1e-5, rtol=1e-5)
    assert (states - expected)[EVERY:].abs().max() > 1e-3
    assert torch.isfinite(states).all()


def alone(model: CoCorrRec, items: torch.Tensor) -> torch.Tensor:
    step, state, states = DeviceStep(model), model.initial_state(), []
    with torch.no_grad():
        for item in items[0]:
            user, *state = step(item[None], *state)
            states.append(user[0])
    return torch.stack(states)


def test_without_upload_it_is_exactly_the_device_alone(model):
    items = some_items(model)
    client = CorrectionClient("http://127.0.0.1:9", model_version="none", upload="none")
    assert torch.equal(walk(model, items, client.request), alone(model, items))


def test_a_correction_that_is_too_old_is_not_used(served, model):
    items = some_items(model, 20)
    client = client_of(served, model, dtype="f32")
    answers = []

    def once(hidden: np.ndarray, seen: int) -> Correction | None:
        if not answers:
            answers.append(client.request(hidden, seen))
            return answers[0]
        return None

    states = walk(model, items, once)
    ttl = answers[0].ttl_steps
    assert ttl == 2 * 4 + EVERY
    lonely = alone(model, items)
    used = (states - lonely).abs().amax(1) > 1e-5
    assert used.tolist() == [EVERY <= seen < EVERY + ttl for seen in range(20)]


def test_wrong_tokens_and_versions_are_counted_and_cost_nothing(served, model):
    hidden = model.hidden(some_items(model))[0].detach().numpy()
    wrong = client_of(served, model, token="guess")
    assert wrong.request(hidden, 14) is None
    old = client_of(served, model, model_version="0" * 16)
    assert old.request(hidden, 14) is None
    assert (dict(wrong.outcomes), dict(old.outcomes)) == ({"refused": 1}, {"version": 1})
    assert served.status("/health") == served.status("/ready") == 200
    assert served.status("/v1/correction") == served.status("/metrics") == 401


def test_the_token_and_the_uploads_are_nowhere_in_the_log(served, model):
    client = client_of(served, model, session="very-private")
    assert client.request(model.hidden(some_items(model))[0].detach().numpy(), 14) is not None
    time.sleep(0.05)
    log = "".join(served.log)
    assert TOKEN not in log
    assert "very-private" not in log


@pytest.mark.slow
def test_a_killed_cloud_leaves_the_device_to_itself(fitted, model):
    service = Served(fitted)
    items = some_items(model, 20)
    with client_of(service, model, dtype="f32", timeout=2.0) as client:

        def ask(hidden: np.ndarray, seen: int) -> Correction | None:
            if seen == 2 * EVERY:
                service.stop(signal.SIGKILL)
            return client.request(hidden, seen)

        states = walk(model, items, ask)
    assert dict(client.outcomes) == {"ok": 1, "unreachable": 1, "backing off": 1}
    assert torch.isfinite(states).all()
    old_until = EVERY + 2 * 4 + EVERY
    torch.testing.assert_close(states[old_until:], alone(model, items)[old_until:])


def test_on_sigterm_what_runs_is_finished_and_then_it_ends(fitted, model):
    service = Served(fitted, "--correction", "--batch-milliseconds", "1500")
    client = client_of(service, model)
    told = []
    hidden = model.hidden(some_items(model))[0].detach().numpy()
    asking = threading.Thread(target=lambda: told.append(client.request(hidden, 14)))
    asking.start()
    while 'waiting{queue="correction"} 1.0' not in urllib.request.urlopen(f"{service.url}/metrics").read().decode():
        assert asking.is_alive(), "the batch was answered before anybody looked"
        time.sleep(0.02)
    service.process.send_signal(signal.SIGTERM)
    asking.join()
    assert told[0] is not None
    assert service.stop() in (0, -signal.SIGTERM)
    assert client.request(hidden, 15) is None


@pytest.mark.slow
def test_while_it_drains_it_says_so_and_still_answers(fitted, model):
    service = Served(fitted, "--correction", "--drain-seconds", "1.5", "--batch-milliseconds", "0")
    client = client_of(service, model)
    hidden = model.hidden(some_items(model))[0].detach().numpy()
    assert service.status("/ready") == 200
    service.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 1
    while service.status("/ready") == 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert service.status("/ready") == 503
    assert service.status("/health") == 200
    assert client.request(hidden, 14) is not None
    assert service.process.wait(20) in (0, -signal.SIGTERM)


def test_a_run_without_corrections_says_so(tmp_path, capsys):
    from palate.cli.app import run

    palate.fit(small_log(), "transitions").save(tmp_path / "next")
    assert run(["serve", str(tmp_path / "next"), "--correction"]) == 2
    assert "no corrections to serve" in capsys.readouterr().err
    assert run(["serve", str(tmp_path / "next"), "--token-file", str(tmp_path / "none"), "--json"]) == 2


def test_tokens_come_from_a_file_one_a_line(tmp_path, monkeypatch):
    from palate.cli.serve import _tokens
    from palate.errors import ConfigError

    monkeypatch.setenv("PALATE_TOKEN", "three")
    file = tmp_path / "tokens"
    file.write_text("one\ntwo\n\n")
    assert _tokens(None, file) == ("three", "one", "two")
    assert _tokens("four", None) == ("four", "three")
    file.write_text("\n")
    with pytest.raises(ConfigError, match="has no token"):
        _tokens(None, file)
    assert _tokens("three", None) == ("three",)
