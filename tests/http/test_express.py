"""The fast lane: what it answers, charges and records is what the ordinary way does."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_kit import WAIT_S, Gateway, body_of
from scripted_upstream import frames, usage, whole

from llm_router.domain.decision import Asks

MODELS = {"openai_chat": "mo", "anthropic_messages": "ma", "gemini_generate": "mg"}
ORDINARY = {"x-llm-router-strict": "false"}
"""Any wish to the gateway keeps a request off the fast lane; this one changes nothing else."""

JSON = {"content-type": "application/json"}

Handler = BaseHTTPRequestHandler


class Provider(ThreadingHTTPServer):
    """A provider of all dialects whose connections stay open, as real ones' do.

    Attributes:
        acts: what each of the next requests gets; answers as usual when there is none.
        seen: how many requests came.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.acts: list[Callable[[Handler, str, bool], None]] = []
        self.seen = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def config(self) -> str:
        lines = []
        for dialect, model in MODELS.items():
            lines.append(
                f'[providers.{model}1]\ndialect = "{dialect}"\nkey_required = false\nauth = "none"\n'
                f'base_url = "http://127.0.0.1:{self.server_port}/{dialect}"\n'
                f"[models.{model}]\nprice = {{ input_per_mtok = 1, output_per_mtok = 2 }}\n"
                f'[[models.{model}.deployments]]\nprovider = "{model}1"\nupstream_model = "up"\n'
            )
        return "[routing.concurrency]\nenabled = false\n" + "".join(lines)


class _Asked(Handler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        dialect = self.path.split("/")[1]
        server = self.server
        assert isinstance(server, Provider)
        server.seen += 1
        act = server.acts.pop(0) if server.acts else usual
        act(self, dialect, bool(body.get("stream")) or "stream" in self.path)

    def log_message(self, format: str, *args: object) -> None: ...


def usual(asked: Handler, dialect: str, stream: bool) -> None:
    """An answer, whole or in pieces."""
    counted = usage(dialect, 10, 500)
    asked.send_response(200)
    if not stream:
        body = whole(dialect, "one two", counted)
        body = body.split(b"\r\n\r\n", 1)[1] if body.startswith(b"HTTP/") else body
        asked.send_header("content-type", "application/json")
        asked.send_header("content-length", str(len(body)))
        asked.end_headers()
        asked.wfile.write(body)
        return
    asked.send_header("content-type", "text/event-stream")
    asked.send_header("transfer-encoding", "chunked")
    asked.end_headers()
    for piece in (*frames(dialect, "one ", "two", counted=counted), b""):
        asked.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        asked.wfile.flush()


def breaks(asked: Handler, dialect: str, stream: bool) -> None:
    """A failure that says so."""
    asked.send_response(500)
    asked.send_header("content-length", "2")
    asked.end_headers()
    asked.wfile.write(b"{}")


def hangs_up(asked: Handler, dialect: str, stream: bool) -> None:
    """The connection is closed without a word."""
    asked.close_connection = True
    asked.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    found = Provider()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture(scope="module")
def gateway(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    found = Gateway(tmp_path_factory.mktemp("express"), config=provider.config)
    for model in MODELS.values():  # a connection to each is open then
        found.chat(model)
    yield found
    assert found.stop() == 0


def taken(gateway: Gateway) -> int:
    """How many requests the fast lane has taken."""
    return int(gateway.get("/readyz").json["load"]["express"])


def plain(value: Any) -> Any:
    """A reply or a record without what differs from one request to the next."""
    varying = {
        "id", "reply_id", "created", "created_ms", "duration_ms", "started_ms", "first_byte_ms", "first_token_ms",
        "overhead_us", "credits_remaining",
    }  # fmt: skip
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items() if name not in varying}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


CALLED = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
WORK: dict[str, dict[str, Any]] = {
    "a question": {},
    "an agent's turn": {
        "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, PICTURE]},
            {"role": "assistant", "content": None, "tool_calls": [CALLED]},
            {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        ],
    },
    "functions of the older style": {"functions": [{"name": "look", "parameters": {"type": "object"}}]},
}
SDK = {"x-stainless-timeout": "600", "x-stainless-lang": "python", "x-stainless-retry-count": "0"}
"""What official clients say of themselves."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", MODELS)
@pytest.mark.parametrize("work", WORK)
def test_both_ways_come_to_the_same(gateway: Gateway, dialect: str, stream: bool, work: str) -> None:
    found = []
    for headers in (ORDINARY, {}):
        before, rides = gateway.credits(), taken(gateway)
        reply = gateway.ask(stream, MODELS[dialect], headers={**SDK, **headers}, **WORK[work])
        assert reply.status == 200, reply.body
        assert taken(gateway) - rides == (not headers)
        record = gateway.generation(reply.id)
        assert before - gateway.credits() == Decimal(record["cost_pusd"]) / 10**12 > 0
        shown = [plain(chunk) for chunk in reply.chunks] if stream else plain(reply.json)
        own = {"date", "x-generation-id", "x-request-id", "openai-processing-ms", "content-length"}
        told = {name: value for name, value in reply.headers.items() if name not in own}
        found.append((shown, plain(record), told))
    assert found[1] == found[0]


TALK = [f" word{number}" if number % 7 else f' "{number}\n' for number in range(60)]


def talks(whole: bool) -> Callable[[Handler, str, bool], None]:
    """A long answer, piece by piece, which may break off."""

    def act(asked: Handler, dialect: str, stream: bool) -> None:
        asked.send_response(200)
        asked.send_header("content-type", "text/event-stream")
        asked.send_header("transfer-encoding", "chunked")
        asked.end_headers()
        pieces = frames(dialect, *TALK, counted=usage(dialect, 10, 500))
        for piece in (*pieces, b"") if whole else pieces[:40]:
            asked.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        asked.close_connection = not whole

    return act


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("dialect", MODELS)
def test_long_answers_come_to_the_same(
    gateway: Gateway, provider: Provider, dialect: str, whole: bool
) -> None:
    """Most events of them go straight from one connection to the other."""
    found = []
    for headers in (ORDINARY, {}):
        before, rides = gateway.credits(), taken(gateway)
        provider.acts.append(talks(whole))
        reply = gateway.ask(True, MODELS[dialect], headers=headers)
        assert taken(gateway) - rides == (not headers)
        record = gateway.generation(reply.id)
        assert before - gateway.credits() == Decimal(record["cost_pusd"]) / 10**12
        found.append(([plain(chunk) for chunk in reply.chunks], plain(record)))
    assert found[1] == found[0]
    if whole:
        deltas = [chunk["choices"][0]["delta"] for chunk in found[1][0] if chunk["choices"]]
        assert "".join(delta.get("content", "") for delta in deltas) == "".join(TALK)


def test_a_record_tells_of_its_own_request_and_not_of_the_first_of_its_kind(gateway: Gateway) -> None:
    """What a kind has in common is made of whichever request came first."""
    key = gateway.new_key("first of a kind")
    gateway.chat("mo", key=key)  # is read from the store
    for more in ({"service_tier": "flex", "n": 2}, {}):
        rides = taken(gateway)
        reply = gateway.chat("mo", key=key, **more)
        assert (reply.status, taken(gateway) - rides) == (200, 1)
    gateway.generation(reply.id)  # waits until it is written
    with closing(sqlite3.connect(f"file:{gateway.data_dir / 'llm-router.db'}?mode=ro", uri=True)) as books:
        (text,) = books.execute("SELECT record FROM exchanges WHERE id = ?", (reply.id,)).fetchone()
    asks = msgspec.convert(json.loads(text)["decision"]["asks"], Asks)
    assert (asks.n, asks.service_tier, asks.needs) == (1, None, ())
    assert asks.text_bytes > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", MODELS)
def test_limits_are_counted_and_told_the_same(gateway: Gateway, dialect: str, stream: bool) -> None:
    found = []
    for headers in (ORDINARY, {}):
        limits = {"requests_per_minute": 9, "tokens_per_minute": 9_000, "concurrency": 3}
        key = gateway.command("keys.create", name="limited", **limits)["key"]
        for number in range(3):  # the first of a key is read from the store, and so goes the ordinary way
            rides = taken(gateway)
            reply = gateway.ask(stream, MODELS[dialect], key=key, headers=headers)
            assert (reply.status, taken(gateway) - rides) == (200, number > 0 and not headers)
            told = {name: value for name, value in reply.headers.items() if name.startswith("x-ratelimit")}
            resets = {name for name in told if "-reset-" in name}
            found.append({name: value for name, value in told.items() if name not in resets})
            assert {told[name] for name in resets} <= {"60s", "1m0s", "1m1s"}
    assert found[3:] == found[:3]
    assert [each["x-ratelimit-remaining-requests"] for each in found[:3]] == ["8", "7", "6"]


def waits(asked: Handler, dialect: str, stream: bool) -> None:
    """Nothing comes until the gateway has hung up."""
    asked.connection.recv(1)
    asked.close_connection = True


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_says_how_long_it_waits(gateway: Gateway, provider: Provider, stream: bool) -> None:
    found = []
    for headers in (ORDINARY, {}):
        gateway.chat("mo")
        provider.acts.append(waits)
        rides = taken(gateway)
        reply = gateway.ask(stream, "mo", headers={"x-stainless-timeout": "0.2", **headers})
        assert taken(gateway) - rides == (not headers)
        found.append((reply.status, reply.error["code"]))
    assert found == [(504, found[0][1])] * 2


def test_calls_that_go_in_circles_are_refused_here_too(gateway: Gateway) -> None:
    turns: list[Any] = [{"role": "user", "content": "go"}]
    for number in range(25):
        turns.append({"role": "assistant", "content": None, "tool_calls": [{**CALLED, "id": f"c{number}"}]})
        turns.append({"role": "tool", "tool_call_id": f"c{number}", "content": "no"})
    rides = taken(gateway)
    assert gateway.chat("mo", messages=turns[:-2]).status == 200
    refused = gateway.chat("mo", messages=turns)
    assert refused.error["code"] == "session_brake", refused.body
    assert taken(gateway) - rides == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("act", [breaks, hangs_up])
def test_what_fails_on_the_way_is_tried_again(
    gateway: Gateway, provider: Provider, act: Any, stream: bool
) -> None:
    """The ride becomes an ordinary exchange: with its retries, and each of its calls in the record."""
    gateway.chat("mo")
    provider.acts.append(act)
    rides, seen = taken(gateway), provider.seen
    reply = gateway.ask(stream, "mo")
    assert (reply.status, taken(gateway) - rides, provider.seen - seen) == (200, 1, 2)
    attempts = [(each["outcome"], each.get("status")) for each in gateway.generation(reply.id)["attempts"]]
    lost = [] if act is hangs_up else [("failed", 500)]  # a connection that was closed before is no attempt
    assert attempts == [*lost, ("delivered", 200)]


def test_requests_on_one_connection_are_answered_in_their_order(gateway: Gateway) -> None:
    """A plain one, one that is not, a plain one: all in one packet."""
    bodies = [body_of("mo"), body_of("mo", user="somebody"), body_of("mo")]
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        connection.sendall(b"".join(gateway.head(len(each)) + each for each in bodies))
        received = b""
        while received.count(b"credits_remaining") < len(bodies):
            data = connection.recv(65536)
            assert data, received
            received += data
    assert received.count(b"HTTP/1.1 200 OK") == len(bodies)


def test_a_request_may_come_in_any_pieces(gateway: Gateway) -> None:
    body = body_of("mo")
    sent = gateway.head(len(body)) + body

    async def one(cut: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for piece in (sent[:cut], sent[cut:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        found = await reader.readuntil(b"credits_remaining")
        writer.close()
        return found

    async def main() -> list[bytes]:
        return await asyncio.gather(*(one(cut) for cut in range(0, len(sent), 7)))

    assert all(found.startswith(b"HTTP/1.1 200 OK") for found in asyncio.run(main()))


def test_a_key_that_is_revoked_is_refused_on_the_same_connection(gateway: Gateway) -> None:
    made = gateway.command("keys.create", name="short")
    body = body_of("mo")
    sent = gateway.head(len(body), key=made["key"]) + body
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        for status in (b"200", b"200", b"401"):
            if status == b"401":
                gateway.command("keys.revoke", id=made["id"])
            connection.sendall(sent)
            received = b""
            while b"credits_remaining" not in received and b'"error"' not in received:
                received += connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 " + status), received


def test_who_leaves_is_charged_by_the_rules_and_holds_nothing(gateway: Gateway, provider: Provider) -> None:
    """At the end of every moment of a plain request: with the request sent, in the wait, in the answer."""
    waiting, go_on = threading.Event(), threading.Event()

    def waits(asked: Handler, dialect: str, stream: bool) -> None:
        waiting.set()
        go_on.wait(WAIT_S)
        asked.close_connection = True

    mark = gateway.log.mark()
    provider.acts.append(waits)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        body = body_of("mo")
        connection.sendall(gateway.head(len(body)) + body)
        assert waiting.wait(WAIT_S)
    (line,) = gateway.log.wait(" 499 ", mark)
    go_on.set()
    record = gateway.generation(line.split()[0])
    assert (record["status"], record["client_gone"], record["cost_pusd"]) == (499, True, 0)
    assert [each["outcome"] for each in record["attempts"]] == ["aborted"]


def test_heads_that_are_alike_are_parsed_once_and_others_again(gateway: Gateway) -> None:
    """On one connection: the same head, another length, another wish, more than one request, half a request."""
    rides = taken(gateway)
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:

        def ask(*pieces: bytes, answers: int = 1) -> bytes:
            received = b""
            for piece in pieces:
                connection.sendall(piece)
            while received.count(b"credits_remaining") + received.count(b'"error"') < answers:
                data = connection.recv(65536)
                assert data, received
                received += data
            return received

        short, long = body_of("mo"), body_of("mo", text="much longer " * 40)
        for body in (short, short, long, short):
            assert ask(gateway.head(len(body)) + body).startswith(b"HTTP/1.1 200 OK")
        assert taken(gateway) - rides == 4
        wished = gateway.head(len(short), "x-llm-router-strict: maybe, no") + short
        assert ask(wished).startswith(b"HTTP/1.1 200 OK")
        assert taken(gateway) - rides == 4
        two = ask((gateway.head(len(short)) + short) * 2, answers=2)
        assert two.count(b"HTTP/1.1 200 OK") == 2
        # A head that stands within a header of another one is none.
        begun = b"POST /v1/nowhere HTTP/1.1\r\nx-note: "
        refused = ask(gateway.head(len(short)) + short + begun, answers=1)
        assert refused.startswith(b"HTTP/1.1 200 OK")
        hidden = ask(gateway.head(len(short)) + short)
        assert hidden.startswith(b"HTTP/1.1 404"), hidden


def test_workers_have_a_fast_lane_each(provider: Provider, tmp_path: Path) -> None:
    """Their ledger is another process: what it says comes later, and no picodollar otherwise."""
    gateway = Gateway(tmp_path, "--workers", "2", config=provider.config)
    try:
        before, cost, body = gateway.credits(), 0, body_of("mo")
        with closing(gateway.connect()) as connection:  # one connection, so one worker
            for _ in range(4):
                connection.request(
                    "POST", "/v1/chat/completions", body, {**JSON, "authorization": f"Bearer {gateway.key}"}
                )
                reply = connection.getresponse()
                cost += gateway.generation(reply.headers["x-generation-id"])["cost_pusd"]
                assert (reply.status, json.loads(reply.read())["usage"]["total_tokens"]) == (200, 510)
            connection.request("GET", "/readyz")
            load = json.loads(connection.getresponse().read())["load"]
        assert load["express"] >= 2
        assert before - gateway.credits() == Decimal(cost) / 10**12 > 0
        poor = gateway.command("keys.create", name="poor", account="poor")["key"]
        answers = [gateway.chat("mo", key=poor) for _ in range(3)]
        assert [each.status for each in answers] == [402, 402, 402]
        assert "affordable_max_tokens" in answers[-1].error
        with closing(gateway.connect()) as connection:
            limits = {"requests_per_minute": 4, "tokens_per_minute": 9_000, "concurrency": 1}
            key, found = gateway.command("keys.create", name="limited", **limits)["key"], []
            connection.request("GET", "/readyz")  # of this worker: the one before may have been another's
            load = json.loads(connection.getresponse().read())["load"]
            for _ in range(6):
                connection.request(
                    "POST", "/v1/chat/completions", body, {**JSON, "authorization": f"Bearer {key}"}
                )
                reply = connection.getresponse()
                reply.read()
                remaining = reply.headers["x-ratelimit-remaining-requests"]
                found.append((reply.status, remaining, reply.headers["x-ratelimit-remaining-concurrency"]))
            connection.request("GET", "/readyz")
            rides = json.loads(connection.getresponse().read())["load"]["express"]
        assert found == [(200, left, "0") for left in "3210"] + [(429, "0", "1")] * 2
        assert rides - load["express"] >= 3
    finally:
        assert gateway.stop() == 0


@pytest.mark.parametrize(
    "more",
    [
        '[routing.hedging]\nmode = "on"\n',
        '[routing]\nsingle_flight = "on"\n',
        '[routing.fallbacks]\ngeneral = ["ma"]\n',
    ],
    ids=["hedging", "single flight", "fallbacks"],
)
def test_what_an_operator_switches_on_is_not_missed(gateway: Gateway, provider: Provider, more: str) -> None:
    """Requests go the ordinary way as long as it is on."""
    rides = taken(gateway)
    assert gateway.chat("mo").status == 200
    assert taken(gateway) == rides + 1
    gateway.config.write_text(more + provider.config)
    gateway.command("config.reload")
    try:
        assert gateway.chat("mo").status == 200
        assert taken(gateway) == rides + 1
    finally:
        gateway.config.write_text(provider.config)
        gateway.command("config.reload")
    assert gateway.chat("mo").status == 200
    assert taken(gateway) == rides + 2


def test_a_head_is_never_taken_for_that_of_the_request_behind_it(gateway: Gateway) -> None:
    """Requests of two keys in one packet, as a proxy may send them; then the first head alone."""
    made = [gateway.command("keys.create", name=name) for name in ("first", "second")]
    body = body_of("mo")
    sent = [gateway.head(len(body), key=each["key"]) + body for each in made]
    for each in made:
        assert gateway.chat("mo", key=each["key"]).status == 200
    with socket.create_connection(("127.0.0.1", gateway.port), WAIT_S) as connection:
        ids = []
        for data, count in ((sent[0] + sent[1], 2), (sent[0], 1), (sent[0], 1)):
            connection.sendall(data)
            received = b""
            while received.count(b"credits_remaining") < count:
                received += connection.recv(65536)
            ids += [
                line.split()[1].decode()
                for line in received.split(b"\r\n")
                if line.startswith(b"x-generation-id")
            ]
    keys = [gateway.generation(id_)["key"] for id_ in ids]
    assert keys == [made[0]["id"], made[1]["id"], made[0]["id"], made[0]["id"]]
