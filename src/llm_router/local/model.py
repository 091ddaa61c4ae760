"""The local model as the gateway sees it: a child process with an address, a key and a name."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import re
import secrets
import sys
from collections import deque
from pathlib import Path

import msgspec

from llm_router.domain.model import Model, Provider
from llm_router.local.catalog import PROVIDER_ID, entries
from llm_router.local.fetch import DEFAULT_FILE, MAGIC, find_model, pull
from llm_router.local.handshake import Ready, ServeSettings
from llm_router.local.problems import LocalUnavailable, extra_missing

_log = logging.getLogger(__name__)

DEFAULT_ID = "smollm2-135m-instruct"
DEFAULT_TEMPERATURE = 0.0
DEFAULT_OUTPUT_TOKENS = 512
"""So small a model can fall into repeating itself: it stops here and not at the end of the context."""

DEFAULT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful AI assistant. Answer the question in one short sentence in English.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, as the file's own template, with other instructions where the request has none. Together with
temperature 0 they bring right answers to 21 plain questions from 64 to 86 percent."""

START_S = 180.0
"""How long a model may take to load. The default one needs less than a second."""

STOP_S = 3.0
RESTARTS_MAX = 3
"""Crashes in a row after which the model stays down."""

RESTART_PAUSE_S = 1.0
HEALTHY_S = 60.0
"""A child that lived so long is none of a row of crashes."""

_UNSAFE = re.compile(r"[^a-z0-9._-]+")


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the model is run.

    Attributes:
        threads: one is best on shared cores, where two get in each other's way.
        context_tokens: of prompt and answer together.
        start_s: how long it may take to load.
    """

    threads: int = 1
    context_tokens: int = 4096
    start_s: float = START_S


class LocalModel:
    """A running model. ``base_url`` and ``key`` stay the same over restarts.

    Attributes:
        gguf: its file; model_id: its public name.
        key: what its server asks for; random for each start.
        base_url: in OpenAI's form, with ``/v1``.
        ready: what its server said of itself.
        restarts: crashes it was brought back from.
    """

    def __init__(self, gguf: Path, options: LocalOptions) -> None:
        self.gguf = gguf
        self.model_id = model_id(gguf)
        self.key = secrets.token_urlsafe(32)
        self.base_url = ""
        self.ready = Ready()
        self.restarts = 0
        self._options = options
        self._port = 0
        self._child: asyncio.subprocess.Process | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._reader: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def context_tokens(self) -> int:
        return self.ready.context_tokens

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        child = self._child
        return child.pid if child is not None and child.returncode is None else None

    def catalog_entries(self) -> tuple[Provider, Model]:
        """The model and its provider for the catalogue, priced at a real zero."""
        return entries(
            model_id=self.model_id,
            base_url=self.base_url,
            ready=self.ready,
            default=self.gguf.name == DEFAULT_FILE,
            output_tokens_max=DEFAULT_OUTPUT_TOKENS
            if self.gguf.name == DEFAULT_FILE
            else self.context_tokens,
        )

    async def start(self) -> None:
        """Start the child and wait until it answers.

        Raises:
            LocalUnavailable: it does not; the message says why.
        """
        await self._launch()
        self._keeper = asyncio.create_task(self._keep(), name="local model")

    async def close(self) -> None:
        """End the child. May be called twice."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        await self._end_child()

    async def _launch(self) -> None:
        """Start one child; on failure none is left."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "llm_router.local.serve"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the gateway, which then ends the child in order
        )
        self._child = child
        self._said.clear()
        self._reader = asyncio.create_task(self._listen(child))
        try:
            async with asyncio.timeout(self._options.start_s):
                self.ready = await self._greet(child)
        except TimeoutError:
            await self._end_child()
            raise LocalUnavailable(
                f"The local model {self.gguf.name} was not ready after {self._options.start_s:.0f} seconds; "
                "use a smaller model, or a machine with more memory"
            ) from None
        except BaseException:
            await self._end_child()
            raise
        self._port = int(self.ready.address.rpartition(":")[2])
        self.base_url = f"{self.ready.address}/v1"

    async def _greet(self, child: asyncio.subprocess.Process) -> Ready:
        """Hand the settings over and take the answer.

        Raises:
            LocalUnavailable: the child could not start the model.
        """
        default = self.gguf.name == DEFAULT_FILE
        settings = ServeSettings(
            path=str(self.gguf),
            model_id=self.model_id,
            key=self.key,
            port=self._port,
            threads=self._options.threads,
            context_tokens=self._options.context_tokens,
            temperature=DEFAULT_TEMPERATURE if default else None,
            chat_template=DEFAULT_TEMPLATE if default else None,
            output_tokens_max=DEFAULT_OUTPUT_TOKENS if default else None,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(ConnectionError):  # the child's end is told below
            child.stdin.write(msgspec.json.encode(settings) + b"\n")
            await child.stdin.drain()
        line = await child.stdout.readline()
        ready = msgspec.json.decode(line, type=Ready) if line else Ready(error="it ended without a word")
        if ready.error is not None:
            await child.wait()
            if self._reader is not None:
                await self._reader
            why = self._said[0] if self._said else ready.error
            raise LocalUnavailable(
                f"llama.cpp can't serve {self.gguf}: {why}; give another file with --local-gguf"
            )
        return ready

    async def _listen(self, child: asyncio.subprocess.Process) -> None:
        """Keep the last lines of the child's error output."""
        assert child.stderr is not None
        while line := await child.stderr.readline():
            text = line.decode(errors="replace").strip()
            if text:
                self._said.append(_plain(text))
                _log.debug("llama.cpp: %s", text)

    async def _keep(self) -> None:
        """Bring a crashed child back, a few times in a row at most."""
        loop = asyncio.get_running_loop()
        in_a_row = 0
        while self._child is not None:
            born = loop.time()
            status = await self._child.wait()
            in_a_row = 0 if loop.time() - born > HEALTHY_S else in_a_row
            while True:
                in_a_row += 1
                if in_a_row > RESTARTS_MAX:
                    _log.error("The local model crashed %d times in a row and stays down.", in_a_row)
                    return
                _log.warning("The local model ended by itself (status %s); starting it again.", status)
                await asyncio.sleep(RESTART_PAUSE_S * in_a_row)
                try:
                    await self._launch()
                except LocalUnavailable as error:
                    _log.error("%s", error.message)
                    continue
                self.restarts += 1
                break

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await child.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if self._reader is not None:
            await self._reader


async def start_local(
    data_dir: Path, *, gguf: Path | None = None, options: LocalOptions | None = None
) -> LocalModel:
    """Start a GGUF file, or the model in the data folder, which is fetched first if it is not there.

    Raises:
        LocalUnavailable: the extra is missing, or the model can't be had or started.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise extra_missing()
    path = gguf if gguf is not None else find_model(data_dir)
    if path is None:
        path = await asyncio.to_thread(pull, data_dir)
    model = LocalModel(_checked(path), options if options is not None else LocalOptions())
    await model.start()
    return model


def model_id(gguf: Path) -> str:
    """The public name of a model file: a fixed one for the default model, else the file's own."""
    if gguf.name == DEFAULT_FILE:
        return DEFAULT_ID
    return _UNSAFE.sub("-", gguf.stem.lower()).strip("-.") or PROVIDER_ID


def _checked(path: Path) -> Path:
    """The absolute path of a file that begins like a model file.

    Raises:
        LocalUnavailable: there is none, it can't be read, or it is something else.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise LocalUnavailable(
            f"The model file {path} can't be read: {error.strerror or error}; give another one with --local-gguf"
        ) from error
    if head != MAGIC:
        raise LocalUnavailable(f"{path} is no GGUF model file; give another one with --local-gguf")
    return path.absolute()


def _plain(line: str) -> str:
    """A log line of llama.cpp without its time, level and place."""
    match = re.fullmatch(r"[0-9.]+\s+[A-Z]\s+(?:\S+\s+)*?(\S+:\s.*)", line)
    return match[1] if match else line
