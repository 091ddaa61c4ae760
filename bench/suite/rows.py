"""The rows of the suite: who is measured on which work, in interleaved rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from suite import bodies, machine
from suite.scale import Census, census, fill
from suite.stage import PACED, SLOW, Gateway, Stage, Target, first_answer

CHAT = "/v1/chat/completions"
REFERENCE = "nginx proxy_pass"
OURS = "llm-router"

HEAP = 1.3
"""As many events a read, on average, are too many for the cost of one."""

Figures = dict[str, float]


class Busy(Exception):
    """The machine has too much else to do for a measurement."""


@dataclass(frozen=True)
class Effort:
    """How long and how often each thing is measured. ``store``: the data folder of the row scale, which stays."""

    rounds: int = 5
    seconds: int = 3
    connections: int = 32
    keys: int = 1_000_000
    accounts: int = 100_000
    records: int = 10_000_000
    store: Path | None = None


@dataclass
class Table:
    """The medians of one kind of work.

    Attributes:
        against: the figure whose ratio to the reference of the same round counts ("" for none).
        does: what each contender does per request, by its name.
    """

    title: str
    against: str
    figures: dict[str, Figures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def interleaved(
    targets: list[Target], measure: Callable[[Target], Figures], effort: Effort, against: str
) -> dict[str, Figures]:
    """Medians over the rounds; ``x_nginx`` is the median of the ratios to the first target in the same round."""
    for target in targets:
        measure(target)  # warm
    rounds = [{target.name: measure(target) for target in targets} for _ in range(effort.rounds)]
    first = targets[0].name
    medians = {}
    for target in targets:
        got = [figures[target.name] for figures in rounds]
        medians[target.name] = {name: statistics.median(each[name] for each in got) for name in got[0]}
        if against:
            ratios = [figures[target.name][against] / figures[first][against] for figures in rounds]
            medians[target.name]["x_nginx"] = statistics.median(ratios)
    return medians


def paced_streams(stage: Stage, target: Target, streams: int, seconds: float) -> Figures:
    """CPU an event of streams whose events come one by one.

    A core that was busy with something else for a while lets events come in heaps, or none: then it is
    measured again.

    Raises:
        Busy: it was so each of ten times.
    """
    for _ in range(10):
        figures = stage.streams(target, streams, seconds, settle_s=0.3)
        if figures["events"] >= 200 * seconds and figures["events"] / figures["reads"] < HEAP:
            wanted = {name: figures[name] for name in ("cpu_us", "events_per_s")}
            return {**wanted, "events_a_read": figures["events"] / figures["reads"]}
    raise Busy(f"{target.name}: the machine is too busy to read events one by one")


def ours(name: str, gateway: Gateway, body: str, path: str = CHAT) -> Target:
    return Target(name, gateway.port, gateway.pid, path, body, gateway.key)


def chat(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """Small chat requests, the same dialect and bridged."""
    targets = [
        stage.nginx_target(REFERENCE, CHAT, bodies.chat_request()),
        ours(OURS, gateway, bodies.chat_request()),
        ours(f"{OURS}, to Anthropic", gateway, bodies.chat_request("bench-anthropic")),
        ours(f"{OURS}, to Gemini", gateway, bodies.chat_request("bench-gemini")),
        *peers,
    ]

    def measure(target: Target) -> Figures:
        return stage.closed_loop(target, effort.seconds, effort.connections)

    table = Table("Chat, 544 bytes in, 832 bytes out: closed loop", "cpu_ms")
    table.figures = interleaved(targets, measure, effort, "cpu_ms")
    return table


def large(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """Large requests; the memory of the gateway before and after them."""
    table = Table("Large requests: closed loop, 8 connections", "cpu_ms")
    for what, body in (
        ("100 kB of conversation with tools", bodies.long_request("bench-large", 100_000)),
        ("1 MB image as data URL", bodies.image_request("bench-large", 1_000_000)),
    ):
        targets = [
            stage.nginx_target(f"{REFERENCE}, {what}", f"/large{CHAT}", body),
            ours(f"{OURS}, {what}", gateway, body),
        ]

        def measure(target: Target) -> Figures:
            figures = stage.closed_loop(target, effort.seconds, 8)
            return {**figures, "memory_mb": machine.memory_mb(target.pid)}

        first = measure(targets[1])["memory_mb"]
        table.figures |= interleaved(targets, measure, effort, "cpu_ms")
        last = measure(targets[1])["memory_mb"]
        table.notes.append(
            f"{what}: resident {first:.0f} MB after the first round, {last:.0f} MB after the last."
        )
    return table


def streams(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """Paced streams: CPU an event."""
    targets = [
        stage.nginx_target(REFERENCE, f"{PACED}{CHAT}", bodies.chat_request("paced-model", stream=True))
    ]
    for name, model in (
        (OURS, "paced-model"),
        (f"{OURS}, from Anthropic", "paced-anthropic"),
        (f"{OURS}, from Gemini", "paced-gemini"),
    ):
        targets.append(ours(name, gateway, bodies.chat_request(model, stream=True)))

    def measure(target: Target) -> Figures:
        return paced_streams(stage, target, 4, effort.seconds)

    table = Table("Streams of 500 events, one each millisecond, 4 at a time", "cpu_us")
    table.figures = interleaved(targets, measure, effort, "cpu_us")
    return table


def latency(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """Latency of an open loop beside the upstream asked directly."""
    body = bodies.chat_request()
    targets = [
        Target("direct", stage.upstream, stage.proxy.pid, CHAT, body),
        stage.nginx_target(REFERENCE, CHAT, body),
        ours(OURS, gateway, body),
        *peers,
    ]

    def measure(target: Target) -> Figures:
        return stage.open_loop(target, 200, max(2, effort.seconds))

    table = Table("Latency at 200 requests a second: open loop", "")
    table.figures = interleaved(targets, measure, effort, "")
    direct = table.figures["direct"]
    for figures in table.figures.values():
        figures["added_p50_us"] = figures["p50_us"] - direct["p50_us"]
        figures["added_p99_us"] = figures["p99_us"] - direct["p99_us"]
    return table


def held(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """2,000 streams at once, an event a second each: memory, and whether any starves."""
    fresh = stage.gateway()
    rest = machine.memory_mb(fresh.pid)
    body = bodies.chat_request("slow-model", stream=True)
    table = Table("2,000 streams held open, an event a second each", "")
    for target in (
        stage.nginx_target(REFERENCE, f"{SLOW}{CHAT}", body),
        ours(OURS, fresh, body),
    ):
        figures = stage.streams(target, 2000, max(6.0, 2.0 * effort.seconds), settle_s=2, repeat=False)
        wanted = (
            "memory_mb",
            "cpu_us",
            "events_least",
            "events_median",
            "late_p50_ms",
            "late_p99_ms",
            "late_max_ms",
        )
        table.figures[target.name] = {name: figures[name] for name in wanted}
    table.notes.append(
        f"{OURS} had {rest:.0f} MB before; late: from the upstream's write to the client's read."
    )
    stage.close(fresh)
    return table


def start(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """From the start of the process to the first answer, and memory at rest after it."""
    data = stage.folder / "data-start"
    first = stage.gateway(data)
    stage.close(first)
    table = Table("Start and rest", "")
    table.figures[OURS] = _started(stage, data, first.key, effort)
    return table


def _started(stage: Stage, data: Path, key: str, effort: Effort) -> Figures:
    """Start on that folder a few times."""
    answers, sizes = [], []
    for _ in range(max(3, effort.rounds)):
        port = machine.free_port()
        begin = time.monotonic()
        process = stage.spawn(stage.serve_command(port, data), core=stage.core, quiet=True)
        answers.append(first_answer(port, key) - begin)
        time.sleep(2)
        sizes.append(machine.memory_mb(process.pid))
        stage.stop(process)
    return {"first_answer_s": statistics.median(answers), "memory_mb": statistics.median(sizes)}


def workers(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """Two workers beside one. Where the machine has two cores they share them with the load."""
    pair = stage.gateway(workers=2)
    one = ours("1 worker", gateway, bodies.chat_request())
    two = ours("2 workers", pair, bodies.chat_request())

    def measure(target: Target) -> Figures:
        before = {pid: machine.own_cpu_s(pid) for pid in machine.processes_of(target.pid)}
        begin = time.monotonic()
        figures = stage.closed_loop(target, effort.seconds, effort.connections)
        requests = figures["requests_per_s"] * (time.monotonic() - begin)
        busiest = max(machine.own_cpu_s(pid) - used for pid, used in before.items())
        return {**figures, "busiest_cpu_ms": busiest / requests * 1000}

    table = Table("Two workers on two cores", "")
    table.figures = interleaved([one, two], measure, effort, "")
    table.notes.append(
        "Busiest: the CPU of the process that has most to do, per request. It bounds what workers can serve on "
        "enough cores; with two cores they share theirs with the load generator and the upstream."
    )
    stage.close(pair)
    return table


def scale(stage: Stage, gateway: Gateway, effort: Effort, peers: list[Target]) -> Table:
    """A large store beside an empty one: start, rest, chat, streams and latency."""
    data = effort.store or stage.folder / "data-scale"
    first = stage.gateway(data)
    stage.close(first)
    there, filled = _filled(data / "llm-router.db", effort)
    size = sum(path.stat().st_size for path in data.iterdir() if path.is_file()) / 1e9
    table = Table(f"{there.keys:,} keys and {there.records:,} exchange records beside an empty store", "")
    small = stage.folder / "data-small"
    empty = stage.gateway(small)
    stage.close(empty)
    starts = {
        "empty": _started(stage, small, empty.key, effort),
        "filled": _started(stage, data, first.key, effort),
    }
    pair = {"empty": gateway, "filled": stage.gateway(data, key=first.key)}
    chats = [ours(name, each, bodies.chat_request()) for name, each in pair.items()]
    streamed = [
        ours(name, each, bodies.chat_request("paced-model", stream=True)) for name, each in pair.items()
    ]

    def closed(target: Target) -> Figures:
        return stage.closed_loop(target, effort.seconds, effort.connections)

    def timed(target: Target) -> Figures:
        return stage.open_loop(target, 200, max(2, effort.seconds))

    def followed(target: Target) -> Figures:
        return {"cpu_us": paced_streams(stage, target, 4, effort.seconds)["cpu_us"]}

    for measure, targets in ((closed, chats), (followed, streamed), (timed, chats)):
        try:
            found = interleaved(targets, measure, effort, "")
        except Busy as busy:
            table.notes.append(f"Not measured: {busy}.")
            continue
        for name, figures in found.items():
            table.figures.setdefault(name, dict(starts[name])).update(figures)
    table.notes.append(f"{size:.1f} GB, {there.accounts:,} accounts; {filled}.")
    stage.close(pair["filled"])
    return table


def _filled(path: Path, effort: Effort) -> tuple[Census, str]:
    """What is in the store after it was filled, unless it was before; and which it is.

    Raises:
        RuntimeError: it holds something else.
    """
    there = census(path)
    if there.records >= effort.records:
        return there, "it was there"
    if there.keys >= effort.keys:
        raise RuntimeError(
            f"{path} holds {there.records:,} records: remove it, or ask for no more than these"
        )
    seconds = fill(
        path,
        keys=effort.keys,
        accounts=effort.accounts,
        records=effort.records,
        now_ms=time.time_ns() // 1_000_000,
    )
    return census(path), f"filled in {seconds:.0f} s"


ROWS: dict[str, Callable[[Stage, Gateway, Effort, list[Target]], Table]] = {
    "chat": chat,
    "large": large,
    "streams": streams,
    "latency": latency,
    "held": held,
    "start": start,
    "workers": workers,
    "scale": scale,
}
