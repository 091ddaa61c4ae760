"""A gateway, its simulated providers and its clients in one event loop, whose time passes when nobody works.

No case waits for a deadline in real time, and none fires because the machine is slow: the clock of the
loop moves on only when nothing is ready to be done, and no other thread has work of the loop's (the ledger's commits, reads of
the stores), which is no waiting of anybody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from llm_router.app import Server
from llm_router.settings import ServeOptions
from llm_router.settings.announcement import Announcement

GRACE_S = 0.005
"""What counts as idle. Bytes on the loopback take less."""


class _Skipping(selectors.DefaultSelector):
    """A selector that does not wait for timers: it counts what should have been waited for."""

    skipped_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.at_work: list[Callable[[], bool]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(min(timeout, GRACE_S))
        if not events and not any(busy() for busy in self.at_work):
            self.skipped_s += timeout
        return events


class LabLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)
        self._jobs = 0
        self.work_of(lambda: self._jobs > 0)

    def work_of(self, busy: Callable[[], bool]) -> None:
        """Time stands still while this is true."""
        self._skipping.at_work.append(busy)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self._jobs -= 1

    def time(self) -> float:
        return self._skipping.skipped_s

    def add_signal_handler(self, *_: Any) -> None:
        """The signals are the test run's own."""


@dataclass
class Seen:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes
    chunks: list[Any] = field(default_factory=list)
    done: bool = False

    @property
    def text(self) -> str:
        if self.headers["content-type"].startswith("text/event-stream"):
            deltas = [c["delta"] for chunk in self.chunks for c in chunk.get("choices", ())]
            return "".join(delta.get("content") or "" for delta in deltas)
        return str(json.loads(self.body)["choices"][0]["message"]["content"])

    @property
    def error(self) -> Any:
        """The error, of the reply or of its stream; None if there is none."""
        if self.headers["content-type"].startswith("text/event-stream"):
            return next((chunk["error"] for chunk in self.chunks if "error" in chunk), None)
        return json.loads(self.body).get("error")

    @property
    def usage(self) -> Any:
        if not self.chunks:
            return json.loads(self.body).get("usage")
        return next((chunk["usage"] for chunk in reversed(self.chunks) if chunk.get("usage")), None)

    @property
    def finish(self) -> list[str]:
        """All finish reasons that were told."""
        whole = [json.loads(self.body)] if not self.chunks else self.chunks
        told = [c.get("finish_reason") for chunk in whole for c in chunk.get("choices", ())]
        return [reason for reason in told if reason is not None]


def _patient(config: str) -> str:
    """The configuration of a gateway that turns nobody away because the machine is slow: it looks at the real time for
    that."""
    wish = "[server]\nlag_max_s = 0\n"
    return config.replace("[server]\n", wish, 1) if "[server]\n" in config else f"{config}\n{wish}"


class Lab:
    """A running gateway with ``--sandbox --faults``."""

    def __init__(self, folder: Path, config: str, faults: str) -> None:
        self.loop = LabLoop()
        (folder / "router.toml").write_text(_patient(config))
        (folder / "faults.toml").write_text(faults)
        options = ServeOptions(
            port=0,
            data_dir=folder / "data",
            config=folder / "router.toml",
            sandbox=True,
            faults=str(folder / "faults.toml"),
        )
        self._server = Server(options, {})
        self._ready: asyncio.Future[Announcement]
        self.run(self._start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _start(self) -> None:
        announced = self.loop.create_future()
        self._task = self.loop.create_task(self._server.serve(announced.set_result))
        await asyncio.wait([self._task, announced], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        journal = self.engine.books._journal
        self.loop.work_of(lambda: journal._pending > 0)
        told = announced.result()
        self.url, self.key = told.url, told.first_key
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"authorization": f"Bearer {self.key}"},
        )

    def close(self) -> None:
        async def end() -> None:
            await self._session.close()
            self._server._stop()
            assert await self._task == 0

        self.run(end())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()

    @property
    def engine(self) -> Any:
        return self._server._engine

    async def chat(
        self,
        model: str,
        *,
        stream: bool,
        text: str = "Hello there",
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> Seen:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}], **members}
        async with self._session.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as reply:
            data = await reply.read()
            told = {name.lower(): value for name, value in reply.headers.items()}
            seen = Seen(reply.status, told, data)
        if told["content-type"].startswith("text/event-stream"):
            read_events(seen)
        return seen

    async def record(self, seen: Seen) -> Any:
        """The record of the exchange."""
        return await self.get(f"/v1/generations/{seen.headers['x-generation-id']}")

    async def get(self, path: str) -> Any:
        async with self._session.get(f"{self.url}{path}") as reply:
            assert reply.status == 200, await reply.text()
            return json.loads(await reply.read())


def read_events(seen: Seen) -> None:
    """Read a stream as strict clients do."""
    whole, _, rest = seen.body.rpartition(b"\n\n")
    assert rest == b"", f"the stream ends within an event: {rest!r}"
    for event in whole.split(b"\n\n"):
        if event.startswith(b":"):
            continue
        if event == b"data: [DONE]":
            seen.done = True
            continue
        assert event.startswith(b"data: "), event[:200]
        assert not seen.done, "data after the end marker"
        seen.chunks.append(json.loads(event[6:]))


@contextlib.contextmanager
def running(folder: Path, config: str, faults: str) -> Iterator[Lab]:
    lab = Lab(folder, config, faults)
    try:
        yield lab
    finally:
        lab.close()
