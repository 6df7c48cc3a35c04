"""Calibrators against scikit-learn, netcal, betacal and uncertainty-calibration; and how fast MCNet is served.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py

takes under five minutes on one core. Writes ``results/benchmarks/calibration.json``. Both sides fit the same rows and
calibrate the same fresh ones, and the script stops when ours is the worse fit. The rate of the table of MCNet is judged
in absolute terms: ten million scores per second on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

import measure
from palate.calibrate.mcnet import MCNet, MCNetConfig
from palate.calibrate.tables import tabulate
from palate.evaluate import ece, log_loss
from palate.registry import find
from peers import Peer, peer_environment

FIRST = ["torch==2.13.0"]
PEERS = ["netcal==1.4.0", "betacal==1.1.0", "uncertainty-calibration==0.1.4"]
PEERS += ["numpy==2.4.6", "scipy==1.17.1", "scikit-learn==1.9.1"]
# ours, the peer's name for the method, the package, our settings, the ratio to reach; isotonic regression is
# scikit-learn's solver on both sides, so all that ours can do is to add little
PAIRS: tuple[tuple[str, str, str, dict[str, Any], float], ...] = (
    ("histogram", "histogram", "netcal==1.4.0", {"binning": "width", "bins": 20}, 1.0),
    ("isotonic", "isotonic", "netcal==1.4.0", {}, 0.7),
    ("platt", "platt", "netcal==1.4.0", {}, 1.0),
    ("temperature", "temperature", "netcal==1.4.0", {}, 1.0),
    ("beta", "beta", "netcal==1.4.0", {}, 1.0),
    ("beta", "betacal", "betacal==1.1.0", {}, 1.0),
)
SERVED = 10_000_000  # scores per second and core
Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def planted(rows: int, fresh: int) -> Parts:
    """Return scores and labels to fit on, and fresh ones to judge on: an S-shaped distortion of the log-odds."""
    rng = np.random.default_rng(0)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        z = rng.normal(-1.6, 1.1, count)
        truth = 1.0 / (1.0 + np.exp(-(0.8 * (z + 0.6 * np.tanh(1.5 * (z + 1.5))) + 0.2)))
        return 1.0 / (1.0 + np.exp(-z)), (rng.random(count) < truth).astype(np.int64)

    return (*draw(rows), *draw(fresh))


def built(method: str, **settings: Any) -> Any:
    """Return one of our calibrators."""
    factory: Any = find("calibrator", method).factory
    return factory(factory.Config(**settings))


def against_scikit_learn(parts: Parts) -> list[dict[str, Any]]:
    """Time isotonic regression, fit and prediction; both sides solve the same problem, to 1e-9."""
    from sklearn.isotonic import IsotonicRegression

    scores, labels, fresh, _ = parts
    theirs = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0)
    ours = built("isotonic")
    fits = measure.alternate(lambda: ours.fit(scores, labels), lambda: theirs.fit(scores, labels))
    uses = measure.alternate(lambda: ours.predict(fresh), lambda: theirs.predict(fresh))
    gap = float(np.abs(uses.ours[0].result - uses.peer[0].result).max())
    if not gap < 2e-7:  # ours never says 0 or 1: predictions are held 1e-7 inside
        raise SystemExit(f"The isotonic maps differ by {gap}.")
    shared: dict[str, Any] = {
        "unit": "rows/s",
        "peer_name": f"scikit-learn {sklearn.__version__}",
        "facts": {"largest difference": gap},
    }
    return [
        measure.row(f"isotonic: fit of {len(scores):,} rows", fits, amount=len(scores), target=0.7, **shared),
        measure.row(f"isotonic: prediction of {len(fresh):,}", uses, amount=len(fresh), target=0.7, **shared),
    ]


def against_packages(peer: Peer, parts: Parts, folder: Path) -> list[dict[str, Any]]:
    """Time the classical fits and predictions of netcal and betacal; ours must fit no worse on fresh rows."""
    scores, labels, fresh, truth = parts
    rows = []
    for method, theirs, package, settings, target in PAIRS:
        ours = built(method, **settings)

        def call(function: str, theirs: str = theirs) -> measure.Timing:
            answer = peer.call(function, method=theirs)
            return measure.Timing(answer["seconds"], answer["value"])

        fits = measure.alternate(lambda: ours.fit(scores, labels), lambda: call("fit"), repeats=3)  # noqa: B023
        uses = measure.alternate(lambda: ours.predict(fresh), lambda: call("predict"), repeats=3)  # noqa: B023
        peer.call("predicted", path=str(folder / "predicted.npy"))
        losses = [
            log_loss(np.clip(p, 1e-7, 1 - 1e-7), truth)
            for p in (uses.ours[0].result, np.load(folder / "predicted.npy"))
        ]
        if losses[0] > losses[1] + 20.0 / len(scores):  # bins without a row are filled differently
            raise SystemExit(f"{method}: log loss {losses[0]:.6f} against {losses[1]:.6f} of {package}.")
        shared: dict[str, Any] = {
            "unit": "rows/s",
            "target": target,
            "peer_name": package.replace("==", " "),
            "facts": {"log loss of ours": losses[0], "log loss of the peer": losses[1]},
        }
        rows += [
            measure.row(f"{method}: fit of {len(scores):,} rows", fits, amount=len(scores), **shared),
            measure.row(f"{method}: prediction of {len(fresh):,}", uses, amount=len(fresh), **shared),
        ]
    return rows


def against_metrics(peer: Peer, parts: Parts, bins: int = 100) -> list[dict[str, Any]]:
    """Time ECE over a hundred equal intervals; all three must agree to 1e-9."""
    scores, labels = parts[:2]
    rows = []
    for function, package in (("ece_netcal", PEERS[0]), ("ece_uncertainty_calibration", PEERS[2])):

        def theirs(function: str = function) -> measure.Timing:
            answer = peer.call(function, bins=bins)
            return measure.Timing(answer["seconds"], answer["value"])

        measured = measure.alternate(lambda: ece(scores, labels, bins=bins), theirs)
        gap = abs(measured.ours[0].result - measured.peer[0].result)
        if not gap < 1e-9:
            raise SystemExit(f"ECE differs by {gap} from {package}.")
        rows.append(
            measure.row(
                f"ECE of {len(scores):,} rows, {bins} bins",
                measured,
                amount=len(scores),
                unit="rows/s",
                peer_name=package.replace("==", " "),
                target=2.0,
                facts={"ECE": measured.ours[0].result, "difference": gap},
            )
        )
    return rows


def served(parts: Parts, epochs: int) -> list[dict[str, Any]]:
    """Time MCNet: its fit beside an isotonic one, its table beside its own network, and the table against the clock."""
    from sklearn.isotonic import IsotonicRegression

    scores, labels, fresh, truth = parts
    rng = np.random.default_rng(1)
    context, met = rng.integers(0, 60, len(scores)), rng.integers(0, 60, len(fresh))
    config = MCNetConfig(epochs=epochs)
    isotonic = IsotonicRegression(out_of_bounds="clip")
    fits = measure.alternate(
        lambda: MCNet(config).fit(scores, labels, context),
        lambda: isotonic.fit(scores, labels),
        repeats=1,
        warmups=0,
    )
    fitted = fits.ours[0].result
    table = tabulate(fitted)
    curve = table.curve(table.context.encode(met))
    few = slice(0, min(len(fresh), 200_000))
    against = measure.alternate(
        lambda: table.lookup(fresh[few], curve[few]), lambda: fitted.predict(fresh[few], met[few]), repeats=3
    )
    gap = float(np.abs(against.ours[0].result - against.peer[0].result).max())
    if not gap < 1e-4:
        raise SystemExit(f"The table differs from the network by {gap}.")
    rate = measure.alternate(lambda: table.lookup(fresh, curve), lambda: isotonic.predict(fresh))
    line = measure.row(
        f"MCNet's table: {len(fresh):,} scores in 60 contexts",
        rate,
        amount=len(fresh),
        unit="scores/s",
        peer_name=f"isotonic of scikit-learn {sklearn.__version__}, no context",
        target=1.0,
        facts={"target, scores/s on one core": SERVED},
    )
    line["met"] = line["met"] and line["ours"] >= SERVED
    losses = {"log loss of the table": log_loss(rate.ours[0].result, truth)}
    facts = {"largest difference": gap, "table error": table.max_error, **losses}
    return [
        measure.row(
            f"MCNet: fit of {len(scores):,} rows, 60 contexts, {epochs} passes (no target: another kind of work)",
            fits,
            amount=len(scores),
            unit="rows/s",
            peer_name=f"isotonic of scikit-learn {sklearn.__version__}",
            target=0.0,
            facts={"seconds of the fit": fits.ours[0].seconds},
        ),
        measure.row(
            "MCNet: table against network",
            against,
            amount=len(fresh[few]),
            unit="scores/s",
            peer_name="the network itself, float64",
            target=10.0,
            facts=facts,
        ),
        line,
    ]


def main() -> None:
    """Run all comparisons and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="rows to fit on")
    parser.add_argument("--fresh", type=int, default=2_000_000, help="rows to predict")
    parser.add_argument("--epochs", type=int, default=12, help="passes of MCNet")
    parser.add_argument("--smoke", action="store_true", help="a size of seconds that only shows that everything runs")
    parser.add_argument("--folder", type=Path, default=measure.RESULTS, help="where the JSON goes")
    options = parser.parse_args()
    size: Callable[[int, int], int] = (lambda full, few: few) if options.smoke else (lambda full, few: full)
    parts = planted(size(options.rows, 5000), size(options.fresh, 50_000))
    rows = against_scikit_learn(parts)
    python = peer_environment("calibration", PEERS, first=FIRST)
    with tempfile.TemporaryDirectory() as name, Peer(python, "calibration_peer.py") as peer:
        np.savez(Path(name) / "scores.npz", scores=parts[0], labels=parts[1], fresh=parts[2])
        peer.call("load", path=str(Path(name) / "scores.npz"))
        rows += against_packages(peer, parts, Path(name))
        rows += against_metrics(peer, parts)
    rows += served(parts, size(options.epochs, 1))
    measure.write("calibration-smoke" if options.smoke else "calibration", rows, folder=options.folder)


if __name__ == "__main__":
    main()
