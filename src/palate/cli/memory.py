"""``palate memory``: simulate lives, ask about them, look through published questions, compare memories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cyclopts import App

from palate.cli.output import finish, parse_settings, progress

if TYPE_CHECKING:
    from palate.memory.contract import Memory
    from palate.memory.judging import Result
    from palate.memory.trajectory import Trajectory

__all__ = ["app", "audit", "live", "report", "rewrite", "run", "simulate"]

app = App(
    name="memory",
    help="Simulate a life, ask about it, measure what a memory recalls.",
    help_format="plaintext",
    result_action="return_value",
)


@app.command
def simulate(
    *,
    to: Path,
    count: int = 600,
    seed: int = 0,
    noise: int = 0,
    language: str = "english",
    network: Path | None = None,
    mix: tuple[str, ...] = (),
    parquet: bool = False,
    memdaily: bool = False,
    workers: int = 1,
    json: bool = False,
) -> None:
    """Write messages, questions and options with keys that are right by construction.

    Args:
        to: Folder to write.
        count: Number of trajectories, one question each.
        seed: Seed.
        noise: Noise messages per real message.
        language: english or chinese.
        network: A relation network of your own, TOML or JSON.
        mix: Shares of the kinds of noise, such as chat=0.5; may be repeated.
        parquet: Write trajectories.parquet as well.
        memdaily: Write memdaily.json as well, in MemDaily's layout.
        workers: Processes.
        json: Print JSON.
    """
    from palate.memory.files import read_trajectories, to_memdaily, write_parquet, write_shards
    from palate.memory.network import Network
    from palate.memory.noise import NOISE_KINDS, NoiseMix
    from palate.memory.simulator import SimulatorConfig
    from palate.saving import write_json

    shares = parse_settings(mix)
    nothing: dict[str, Any] = {str(kind): 0.0 for kind in NOISE_KINDS}
    blend = NoiseMix(**{**nothing, **shares}) if shares else NoiseMix()
    settings: dict[str, Any] = {"seed": seed, "noise": noise, "mix": blend, "language": language}
    lives = None if network is None else Network.load(network)
    document = write_shards(to, SimulatorConfig(**settings), count, network=lives, workers=workers)
    if parquet:
        write_parquet(to / "trajectories.parquet", read_trajectories(to))
    if memdaily:
        write_json(to / "memdaily.json", to_memdaily(read_trajectories(to)))
    sizes = f"{document['count']:,} questions over {document['messages']:,} messages in {len(document['shards'])} files"
    finish(document, f"{to}: {sizes}.", machine=json)


@app.command
def rewrite(
    data: Path,
    *,
    to: Path,
    model: str = "endpoint",
    set: tuple[str, ...] = (),
    replies: Path | None = None,
    retries: int = 3,
    json: bool = False,
) -> None:
    """Let a language model say the messages in other words; what loses or adds a fact is refused.

    Args:
        data: A folder of palate memory simulate.
        to: Folder to write.
        model: endpoint (a server) or local (weights in this process).
        set: Settings of the model, such as url=http://127.0.0.1:8080/v1 or model=NAME; may be repeated.
        replies: File in which replies are kept, so that an interrupted run asks nothing twice.
        retries: Further tries after a refusal; then a message stays as it was.
        json: Print JSON.
    """
    from palate.llm.opening import open_model
    from palate.memory.files import MANIFEST, rewrite_shards
    from palate.memory.grammar import load_grammar
    from palate.memory.network import Network, NetworkConfig
    from palate.memory.rewriting import Rewriter

    settings = _manifest(data / MANIFEST)["settings"]
    network = Network(NetworkConfig(**settings["network"])) if settings["network"] else None
    writer = open_model(model, replies=replies, **parse_settings(set))
    grammar = load_grammar(settings["config"]["language"], network)
    document = rewrite_shards(data, to, Rewriter(writer, grammar, retries))
    counts = ", ".join(f"{count:,} {name}" for name, count in document["rewriting"].items()) or "nothing was left to do"
    finish(document, f"{to}: {counts}.", machine=json)


@app.command
def run(
    data: Path,
    *,
    to: Path,
    memory: tuple[str, ...] = ("none", "recent", "bm25", "full", "oracle"),
    reader: str = "symbolic",
    k: int = 5,
    limit: int | None = None,
    format: str | None = None,
    set: tuple[str, ...] = (),
    reader_set: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Ask every question of every memory and write a result per memory.

    Args:
        data: A folder of palate memory simulate, or a published file with --format.
        to: Folder of the results.
        memory: Memories to ask; see palate models; may be repeated.
        reader: What answers: symbolic, lexical, local (a language model here) or endpoint (one on a server).
        k: Messages to recall.
        limit: Ask only the first so many questions.
        format: Format of a published file: memdaily.
        set: Settings of the memories, NAME=VALUE; may be repeated.
        reader_set: Settings of the reader, such as url=http://127.0.0.1:8080/v1; may be repeated.
        json: Print JSON.
    """
    from palate.memory.judging import judge
    from palate.registry import find
    from palate.saving import write_json

    trajectories, noise = _questions(data, format, limit)
    factories = {name: cast("type[Memory]", find("memory", name).factory) for name in dict.fromkeys(memory)}
    answers: Any = find("memory-reader", reader).factory
    answering = answers(answers.Config(**parse_settings(reader_set)))
    results = []
    with progress(machine=json) as shown, shown.task("asking", total=len(factories), unit="memories") as task:
        for name, factory in factories.items():
            store = factory(factory.Config.sized("tiny", **parse_settings(set)))
            result = judge(store, answering, trajectories, retriever=name, reader_name=reader, k=k, noise=noise)
            store.close()
            write_json(to / f"{name}-{reader}-{noise}.json", result.to_document())
            results.append(result)
            task.advance(accuracy=result.accuracy)
    _show(results, machine=json)


@app.command
def live(
    *,
    to: Path,
    messages: int = 10_000,
    questions: int = 300,
    seed: int = 0,
    memory: tuple[str, ...] = ("none", "recent", "bm25", "fact-store", "oracle"),
    reader: str = "symbolic",
    k: int = 5,
    set: tuple[str, ...] = (),
    reader_set: tuple[str, ...] = (),
    json: bool = False,
) -> None:
    """Tell one long life, with facts that change, to each memory, ask in between, and write a result per memory.

    Args:
        to: Folder of the results.
        messages: Messages of the life.
        questions: Questions asked while they come.
        seed: Seed.
        memory: Memories to tell; see palate models; may be repeated.
        reader: What answers: symbolic, lexical, local or endpoint.
        k: Messages to recall.
        set: Settings of the memories, NAME=VALUE; may be repeated.
        reader_set: Settings of the reader; may be repeated.
        json: Print JSON.
    """
    from palate.memory.long_judging import judge_long
    from palate.memory.long_life import LongLife, LongLifeConfig
    from palate.registry import find
    from palate.saving import write_json

    told = LongLife(LongLifeConfig(messages=messages, questions=questions, seed=seed))
    factories = {name: cast("type[Memory]", find("memory", name).factory) for name in dict.fromkeys(memory)}
    answers: Any = find("memory-reader", reader).factory
    answering = answers(answers.Config(**parse_settings(reader_set)))
    results = []
    with progress(machine=json) as shown, shown.task("living", total=len(factories), unit="memories") as task:
        for name, factory in factories.items():
            store = factory(factory.Config.sized("tiny", **parse_settings(set)))
            result = judge_long(store, answering, told, retriever=name, reader_name=reader, k=k)
            store.close()
            write_json(to / f"{name}-{reader}-life.json", result.to_document())
            results.append(result)
            task.advance(accuracy=result.accuracy)
    _show(results, machine=json)


@app.command
def report(results: Path, *, json: bool = False) -> None:
    """Compare the results of a folder; results reached under other terms are refused.

    Args:
        results: Folder of palate memory run.
        json: Print JSON.
    """
    import json as codec

    from palate.errors import DataError
    from palate.memory.judging import Result

    found = []
    for path in sorted(results.glob("*.json")):
        try:
            found.append(Result.from_document(codec.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path.name} is not a result of palate memory run: {error!r}.") from None
    if not found:
        raise DataError(f"{results} holds no results.", remedy="Make some with: palate memory run DATA --to FOLDER")
    _show(found, machine=json)


@app.command
def audit(data: Path, *, format: str, json: bool = False) -> None:
    """Look through the questions of a published file for wrong keys; exit code 0 whatever is found.

    Args:
        data: The file, plain or gzipped.
        format: memdaily, locomo or longmemeval.
        json: Print JSON.
    """
    from dataclasses import asdict

    from rich.table import Table

    from palate.memory.audit import audit as look
    from palate.memory.published import read_published

    found = look(read_published(data, format))
    table = Table("question", "defect", "detail", box=None, padding=(0, 2, 0, 0))
    for finding in found.findings:
        table.add_row(finding.id, finding.defect, finding.detail[:70])
    counts = ", ".join(f"{count} x {defect}" for defect, count in found.counts.items()) or "no defects"
    blind = ", ".join(f"{name} {share:.2f}" for name, share in found.blind.items())
    line = f"\n{found.questions:,} questions: {counts}." + (f"\nRight without any message: {blind}." if blind else "")
    finish({**asdict(found), "counts": found.counts}, table, line, machine=json)


def _manifest(path: Path) -> dict[str, Any]:
    import json as codec

    from palate.errors import DataError

    try:
        found: dict[str, Any] = codec.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.", remedy="Make it with: palate memory simulate") from None
    return found


def _questions(data: Path, format: str | None, limit: int | None) -> tuple[list[Trajectory], int]:
    import itertools
    import json as codec

    from palate.memory.files import MANIFEST, read_trajectories
    from palate.memory.published import read_published

    if format is not None:
        return read_published(data, format)[:limit], 0
    trajectories = list(itertools.islice(read_trajectories(data), limit))
    manifest = (data if data.is_dir() else data.parent) / MANIFEST
    noise = codec.loads(manifest.read_text())["settings"]["config"]["noise"] if manifest.is_file() else 0
    return trajectories, int(noise)


def _show(results: list[Result], *, machine: bool) -> None:
    """Show a leaderboard per noise level; within one, all terms must be equal."""
    from palate.memory.leaderboard import growth_table, leaderboard, leaderboard_table

    board = leaderboard(results)
    grown = [growth_table(level) for level in board["levels"] if "growth" in level["rows"][0]]
    finish(board, *(leaderboard_table(level) for level in board["levels"]), *grown, machine=machine)
