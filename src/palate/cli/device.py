"""``palate device``: write a recommender for a device, and play a session on it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from palate.cli.output import console, finish

if TYPE_CHECKING:
    from rich.console import RenderableType

    from palate.device.correction_client import CorrectionClient, UploadMode
    from palate.device.measure import DeviceCost
    from palate.device.runtime import DeviceRuntime
    from palate.device.session import Place, Session, Turn

__all__ = ["app", "export", "run"]

app = App(
    name="device",
    help="Write a recommender for a device, and play a session on it.",
    help_format="plaintext",
    result_action="return_value",
)


@app.command
def export(
    run: Path,
    *,
    to: Literal["onnx", "executorch"] = "onnx",
    out: Path | None = None,
    precision: Literal["float32", "float16", "int8"] = "float32",
    uncorrected: bool = False,
    json: bool = False,
) -> None:
    """Write a fitted cocorrrec as a folder that a device plays without torch, and say what it costs.

    Args:
        run: Folder of a saved recommender.
        to: Runtime of the step.
        out: Folder to write; by default RUN-onnx or RUN-executorch beside RUN.
        precision: float16 halves the item rows; int8 quarters them and the layer's matrices. The state stays float32.
        uncorrected: Leave the cloud's corrections out of the step.
        json: Print JSON.
    """
    from palate.device.export import export_device
    from palate.device.measure import measure_export
    from palate.recommender import load

    place = out or run.parent / f"{run.name}-{to}"
    folder = export_device(load(run), place, to=to, precision=precision, corrections=not uncorrected)
    cost = measure_export(folder)
    finish({"folder": str(folder), "cost": cost.to_dict()}, f"Written to {folder}\n", _cost_table(cost), machine=json)


@app.command
def run(
    export: Path,
    *,
    user: str = "me",
    click: tuple[str, ...] = (),
    replay: str | None = None,
    recommender: Annotated[Path | None, Parameter(name="--run")] = None,
    states: Path | None = None,
    k: Annotated[int, Parameter(alias="-k")] = 5,
    cloud: str | None = None,
    start_cloud: bool = False,
    stop_cloud_after: int | None = None,
    upload: Literal["hidden", "summary", "none"] = "hidden",
    token: str | None = None,
    timeout: float = 0.1,
    json: bool = False,
) -> None:
    """Play a user's session: the list after every click, what moved in it, and whether the cloud corrected it.

    Clicks come from --click, from the log of a saved recommender (--replay USER --run RUN), or from standard input,
    one a line: an item id, a title, or #3 for the third of the list.

    Args:
        export: Folder that `palate device export` wrote.
        user: Whose session it is.
        click: An item by id or title; may be repeated.
        replay: A user of the log of RUN whose clicks are played.
        recommender: Folder of the saved recommender, for --replay and --start-cloud.
        states: Folder that keeps the states; without it they are forgotten at the end.
        k: Length of the list.
        cloud: Address of a correction service.
        start_cloud: Start a correction service for RUN on this machine.
        stop_cloud_after: End the service that was started after so many clicks, to see the session go on.
        upload: What is sent: hidden states (which tell the clicks), a summary of them, or nothing.
        token: For the correction service; also from PALATE_TOKEN.
        timeout: Seconds that a correction may take; the session goes on without it.
        json: Print JSON.
    """
    from palate.device.runtime import DeviceRuntime
    from palate.device.session import Session
    from palate.errors import ConfigError

    if (start_cloud or replay is not None) and recommender is None:
        raise ConfigError("--start-cloud and --replay need the saved recommender.", remedy="Add --run RUN.")
    if start_cloud and cloud is not None:
        raise ConfigError("Both --cloud and --start-cloud were given.", remedy="Give one of them.")
    with contextlib.ExitStack() as stack:
        kept = states or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        device = stack.enter_context(DeviceRuntime(export, kept))
        end_cloud = None
        if start_cloud and recommender is not None:
            from palate.cli.cloud_process import CloudProcess

            process = stack.enter_context(CloudProcess(recommender))
            cloud, token, end_cloud = process.url, process.token, process.stop
        client = None
        if cloud is not None:
            client = stack.enter_context(_client(device, export, cloud, upload, token, timeout))
        session = Session(device, user, k=k, cloud=client)
        if replay is not None and recommender is not None:
            clicks: Iterable[str] = [*_replayed(recommender, replay), *click]
        else:
            clicks = click or _typed(session)
        turns = []
        for number, turn in enumerate(_turns(session, clicks, forgiving=not (click or replay))):
            turns.append(turn)
            _show(turn, machine=json)
            if end_cloud is not None and number == stop_cloud_after:
                end_cloud()
                _note("The correction service has been ended.", machine=json)
        outcomes = {} if client is None else dict(client.outcomes)
        document = {"user": user, "turns": [turn.to_dict() for turn in turns], "cloud": outcomes}
        finish(document, _summary(turns, outcomes), machine=json)


def _client(
    device: DeviceRuntime,
    export: Path,
    url: str,
    upload: UploadMode,
    token: str | None,
    timeout: float,
) -> CorrectionClient:
    import os

    from palate.device.correction_client import CorrectionClient
    from palate.device.upload_summary import UploadSummary
    from palate.errors import ConfigError
    from palate.saving import load_folder

    manifest = device.manifest
    if not manifest.corrected:
        raise ConfigError("This export takes no corrections.", remedy="Leave --cloud and --start-cloud out.")
    by_summary = upload == "summary"
    return CorrectionClient(
        url,
        model_version=(manifest.summary_version if by_summary else None) or manifest.model_version,
        token=token or os.environ.get("PALATE_TOKEN"),
        timeout=timeout,
        upload=upload,
        summary=UploadSummary(load_folder(export).arrays("summary")) if by_summary else None,
        shape=(manifest.num_heads, manifest.mini_batch_size, manifest.head_width),
    )


def _replayed(run: Path, user: str) -> list[str]:
    """Return the item ids that a user of a saved recommender's log took, oldest first."""
    from palate.device.item_names import ItemNames
    from palate.errors import ConfigError
    from palate.saving import load_folder
    from palate.users_log import UsersLog

    folder = load_folder(run, kind="recommender")
    log, names = UsersLog.from_arrays(folder.arrays("users")), ItemNames.from_arrays(folder.arrays("catalogue"))
    if not log.knows(user):
        raise ConfigError(f"The log of {run} does not know user {user}.", remedy="Name another one.")
    return [names.ids[number - 1] for number in log.items_of(user)]


def _typed(session: Session) -> Iterator[str]:
    """Yield items from standard input until it ends or a line is empty."""
    asked = sys.stdin.isatty()
    while True:
        if asked:
            sys.stderr.write("click (id, title or #rank; an empty line ends): ")
            sys.stderr.flush()
        line = sys.stdin.readline().strip()
        if not line:
            return
        place = int(line[1:]) if line[:1] == "#" and line[1:].isdecimal() else 0
        yield str(session.ranked[place - 1].item) if 1 <= place <= len(session.ranked) else line


def _turns(session: Session, clicks: Iterable[str], *, forgiving: bool) -> Iterator[Turn]:
    """Yield the list before the first click and after each; an unknown item ends a session that was written down."""
    from palate.errors import UnknownItemError

    yield session.begin()
    for item in clicks:
        try:
            yield session.click(item)
        except UnknownItemError as error:
            if not forgiving:
                raise
            sys.stderr.write(f"palate: {error}\n")


def _show(turn: Turn, *, machine: bool) -> None:
    if machine:
        return
    from rich.table import Table
    from rich.text import Text

    corrected = "corrected" if turn.corrected else "uncorrected"
    head = "Before the first click" if turn.clicked is None else f"{turn.seen}. {turn.clicked}"
    facts = f"{turn.milliseconds:.1f} ms" + ("" if turn.clicked is None else f", {corrected}")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    for place in turn.places:
        table.add_row(str(place.item.rank), place.item.name, _arrow(place) if turn.clicked is not None else "")
    notes = [f"gone: {', '.join(item.name for item in turn.gone)}"] if turn.gone else []
    notes += [f"cloud: {turn.cloud}"] if turn.cloud else []
    title = Text.assemble((head, "bold"), f"   {facts}")
    console().print(title, table, Text("".join(f"  {note}\n" for note in notes)))


def _note(words: str, *, machine: bool) -> None:
    if not machine:
        console().print(words + "\n")


def _arrow(place: Place) -> str:
    move = place.move
    if move is None:
        return "new"
    return f"up {move}" if move > 0 else f"down {-move}" if move < 0 else ""


def _summary(turns: list[Turn], outcomes: dict[str, int]) -> str:
    clicks = [turn for turn in turns if turn.clicked is not None]
    corrected = sum(turn.corrected for turn in clicks)
    asked = ", ".join(f"{kind} {count}" for kind, count in outcomes.items()) or "not asked"
    return f"{len(clicks)} clicks, {corrected} of them corrected; the cloud: {asked}."


def _cost_table(cost: DeviceCost) -> RenderableType:
    from rich.table import Table

    table = Table("what", "here", box=None, padding=(0, 2, 0, 0))
    for name, size in cost.bytes_on_disk.items():
        table.add_row(name, f"{size:,} bytes")
    table.add_row("all files", f"{sum(cost.bytes_on_disk.values()):,} bytes")
    table.add_row("state of a click", f"{cost.step_state_bytes:,} bytes, however long the history")
    table.add_row("one user on disk", f"{cost.state_file_bytes:,} bytes")
    table.add_row("a click", f"{cost.click_milliseconds:.2f} ms, {cost.flops_per_click:,} FLOPs")
    table.add_row("a list", f"{cost.list_milliseconds:.2f} ms, {cost.flops_per_ranking:,} FLOPs")
    return table
