"""The peers' side of calibration.py: netcal, betacal and uncertainty-calibration on the same scores and labels."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from peers import serve

# uncertainty-calibration's module is called like the script beside this one: only the installed one may be found
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]

held: dict[str, Any] = {}


def load(path: str) -> dict[str, int]:
    """Read the scores; this is not part of any timing."""
    import numpy as np

    warnings.simplefilter("ignore")
    arrays = np.load(path)
    held.update({name: arrays[name] for name in ("scores", "labels", "fresh")})
    return {name: len(column) for name, column in held.items()}


def fit(method: str) -> None:
    """Fit a method on the scores."""
    held["fitted"] = _built(method)
    scores = held["scores"].reshape(-1, 1) if method == "betacal" else held["scores"]
    held["fitted"].fit(scores, held["labels"])


def predict(method: str) -> None:
    """Calibrate the fresh scores with the method that was fitted last."""
    held["predicted"] = held["fitted"].predict(held["fresh"]) if method == "betacal" else _transformed()


def predicted(path: str) -> None:
    """Write what was predicted, for the comparison."""
    import numpy as np

    np.save(path, np.asarray(held["predicted"], dtype=np.float64))


def ece_netcal(bins: int) -> float:
    """Return the ECE of the scores by netcal."""
    from netcal.metrics import ECE

    return float(ECE(bins).measure(held["scores"], held["labels"]))


def ece_uncertainty_calibration(bins: int) -> float:
    """Return the ECE of the scores by uncertainty-calibration."""
    import calibration

    return float(calibration.get_ece(held["scores"], held["labels"], num_bins=bins))


def _transformed() -> Any:
    return held["fitted"].transform(held["fresh"])


def _built(method: str) -> Any:
    if method == "betacal":
        from betacal import BetaCalibration

        return BetaCalibration("abm")
    from netcal import binning, scaling

    return {
        "histogram": lambda: binning.HistogramBinning(20),
        "isotonic": binning.IsotonicRegression,
        "platt": scaling.LogisticCalibration,
        "beta": scaling.BetaCalibration,
        "temperature": scaling.TemperatureScaling,
    }[method]()


if __name__ == "__main__":
    serve(
        {
            "load": load,
            "fit": fit,
            "predict": predict,
            "predicted": predicted,
            "ece_netcal": ece_netcal,
            "ece_uncertainty_calibration": ece_uncertainty_calibration,
        }
    )
