"""The command line: its commands, its errors and its exit codes.

Exit codes: 0 done; 1 a fault of Palate's own; 2 a misspelt or contradictory setting; 3 data that cannot be used;
4 training that cannot go on; 5 a saved folder that cannot be read; 6 a service that cannot answer; 130 Ctrl-C.

Commands are named here and imported when called, so that ``palate --help`` stays quick.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from palate import __version__
from palate.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    PalateError,
    SavedFolderError,
    ServiceError,
    TrainingError,
    UnknownNameError,
)

__all__ = ["EXIT_CODES", "build_app", "run"]

EXIT_CODES: tuple[tuple[type[PalateError], int], ...] = (
    (ConfigError, 2),
    (UnknownNameError, 2),
    (MissingExtraError, 2),
    (DataError, 3),
    (TrainingError, 4),
    (SavedFolderError, 5),
    (ServiceError, 6),
)

# command -> (where it lives, its line in the help)
_COMMANDS = {
    "demo": ("palate.cli.demo:demo", "The main job: compare, choose, calibrate, report, ready to serve."),
    "data": ("palate.cli.data:app", "List, import, check and show data sets."),
    "models": ("palate.cli.models:models", "What there is, what each needs, and its status."),
    "fit": ("palate.cli.fit:fit", "Train one model and save it as a recommender."),
    "evaluate": ("palate.cli.evaluate:evaluate", "Judge a saved recommender on held-out data."),
    "recommend": ("palate.cli.recommend:recommend", "Ask a saved recommender for items."),
    "calibrate": ("palate.cli.calibrate:calibrate", "Turn the scores of a saved ranker into probabilities."),
    "serve": ("palate.cli.serve:serve", "Answer HTTP requests from a saved recommender."),
    "device": ("palate.cli.device:app", "Write a recommender for a device, and play a session on it."),
    "memory": ("palate.cli.memory:app", "Simulate a life, ask about it, measure what a memory recalls."),
    "doctor": ("palate.cli.doctor:doctor", "What this installation can do, and which extra is missing for what."),
    "reproduce": ("palate.cli.reproduce:reproduce", "Check the claims of a published system at a reduced size."),
    "new-model": ("palate.cli.new_model:new_model", "Write the file, the test and the page of a new model."),
}


def build_app() -> App:
    """Return the command-line application."""
    app = App(
        name="palate",
        help="From a log of who chose what to a chosen, calibrated, saved and served recommender.",
        version=__version__,
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
        result_action="return_value",
    )
    for name, (place, line) in _COMMANDS.items():
        app.command(place, name=name, help=line)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error becomes one clear message."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    machine = "--json" in arguments
    try:
        build_app()(list(arguments), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(ConfigError(" ".join(str(error).split()), remedy="Try --help."), machine)
    except PalateError as error:
        return _fail(error, machine)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was finished is kept.\n")
        return 130
    except BrokenPipeError:
        return 0
    return 0


def _fail(error: PalateError, machine: bool) -> int:
    if machine:
        body = {"code": error.code, "message": error.message, "remedy": error.remedy}
        sys.stdout.write(json.dumps({"error": body}, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"palate: {error}\n")
    return next((code for family, code in EXIT_CODES if isinstance(error, family)), 1)
