"""What the handlers of the API work with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.account import Actor
from llm_router.domain.errors import RouterError
from llm_router.domain.model import Model
from llm_router.edge.http import Request
from llm_router.engine.logs import Logs
from llm_router.engine.oidc import Oidc
from llm_router.engine.people import People
from llm_router.engine.sign_in import SignIns
from llm_router.engine.treasury import Treasury
from llm_router.ports import Clock, Directory, Keyring, NoticeRefused, PaperBooks

if TYPE_CHECKING:  # commands are loaded when one is run
    from llm_router.engine.operations import Operate

Sealing = Callable[[str, bytes], str]
Unsealing = Callable[[str, str], bytes | None]
Marking = Callable[[str, bytes], str]
Mailer = Callable[[str, str, str], Awaitable[None]]
"""Sends a text: to whom, subject, text."""


async def _no_issuer() -> Oidc | None:
    return None


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """One per process.

    Attributes:
        operate: runs an operator's command where the stores are.
        origin: under which browsers reach the gateway; None: where it happens to listen.
        trusted_proxies: ranges of addresses whose X-Forwarded-For is believed.
        seal, unseal: of answers that are kept for who repeats a request. mark: keyed digests of these requests.
        mail: None where no mail is configured. oidc: finds the issuer that people may sign in at now.
        sandbox: providers are simulated.
        tasks: what goes on in the background.
        offered: the models that can be asked, with whoever may serve them, at the prices of strangers.
        told: answers that are given again for a moment, with when they were made.
    """

    directory: Directory
    people: People
    sign_ins: SignIns
    keyring: Keyring
    clock: Clock
    snapshot: Callable[[], Snapshot]
    operate: Operate
    treasury: Treasury | None
    papers: PaperBooks
    seal: Sealing
    unseal: Unsealing
    mark: Marking
    logs: Logs | None = None
    origin: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    mail: Mailer | None = None
    oidc: Callable[[], Awaitable[Oidc | None]] = _no_issuer
    sandbox: bool = False
    tasks: set[asyncio.Task[None]] = msgspec.field(default_factory=set)
    offered: Callable[[], list[Model]] = list
    told: dict[str, tuple[int, dict[str, dict[str, object]]]] = msgspec.field(default_factory=dict)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that no answer waits for, not even by how long it takes."""
        task = asyncio.get_running_loop().create_task(self._quietly(work))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RouterError as error:
            print(f"not done: {error.message}", file=sys.stderr)

    async def run(self, command: str, by: Actor, arguments: Mapping[str, object]) -> dict[str, msgspec.Raw]:
        """Run an operator's command; the members of its result, amounts as they are written.

        Raises:
            RouterError: what the command raises.
        """
        result = await self.operate(command, msgspec.json.encode(arguments), by)
        return msgspec.json.decode(result, type=dict[str, msgspec.Raw])

    async def rows(self, command: str, by: Actor, arguments: Mapping[str, object], member: str) -> list[Any]:
        """The rows under a member of a command's result, each as raw members."""
        found = await self.run(command, by, arguments)
        return msgspec.json.decode(found[member], type=list[dict[str, msgspec.Raw]])

    def link_origin(self, request: Request) -> str:
        """What links begin with. Without a configured origin it is where the request came in, so links are only
        told to who asked, and not mailed."""
        return self.origin or f"http://{request.headers.get('host', 'localhost')}"

    @property
    def mails(self) -> bool:
        """Whether links are mailed."""
        return self.mail is not None and self.origin is not None

    async def send(self, to: str, subject: str, text: str) -> bool:
        """Mail a text; False if it was not mailed. Links are mailed only where the operator says where they
        lead: the Host header is the client's word."""
        if self.mail is None or self.origin is None:
            return False
        try:
            await self.mail(to, subject, text)
        except NoticeRefused:
            return False
        return True
