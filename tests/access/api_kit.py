"""The API of accounts in this process: a world with two accounts, everybody in them, and one object of each kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from llm_router.adapters.memory.books import MemoryBooks
from llm_router.adapters.sqlite.directory import SqliteDirectory
from llm_router.domain.account import (
    Account,
    Invitation,
    KeyScope,
    Member,
    Person,
    Role,
    SignIn,
    Team,
    member_id,
)
from llm_router.domain.errors import RouterError
from llm_router.domain.key import Key, key_digest
from llm_router.edge.api.app import Api
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.routes import API_TABLE
from llm_router.edge.api.table import ApiRoute, ApiTable, Ask
from llm_router.edge.http import Request
from llm_router.engine.oidc import Oidc
from llm_router.engine.people import People
from llm_router.engine.rolls import digest
from llm_router.engine.sign_in import SignIns
from llm_router.ports import Turn

NOW_MS = 1_800_000_000_000
LATER_MS = NOW_MS + 86_400_000
ACCOUNTS = ("acme", "bolt")


class StoppedClock:
    now = NOW_MS

    def now_ms(self) -> int:
        return self.now

    def monotonic_us(self) -> int:
        return 0


class PlainPasswords:
    """Hashes nothing; the real ones take long on purpose."""

    async def hash(self, password: str, turn: Turn) -> str:
        return f"plain {password}"

    async def verify(self, hash_: str | None, password: str, turn: Turn) -> bool:
        return hash_ == f"plain {password}"


class World:
    """Open it with :meth:`open`."""

    def __init__(self, directory: SqliteDirectory) -> None:
        self.clock = StoppedClock()
        self.directory = directory
        self.books = MemoryBooks()
        self.oidc: Oidc | None = None
        self.mails: list[tuple[str, str]] = []
        self._numbers = iter(range(1, 10_000))
        self.people = People(
            directory,
            self.clock,
            new_id=self._id,
            new_token=self._token,
            taken=self._taken,
            key_of=self.books.get,
        )
        self.sign_ins = SignIns(
            self.people,
            PlainPasswords(),
            new_token=self._token,
            new_code=lambda: f"CODE-{next(self._numbers):05}",
            new_secret=lambda size: bytes(range(size)),
            seal=lambda name, value: f"{name} {value.hex()}",
            unseal=lambda name, text: (
                bytes.fromhex(text.removeprefix(f"{name} ")) if text.startswith(f"{name} ") else None
            ),
        )

    @classmethod
    async def open(cls, folder: Path) -> World:
        return cls(await SqliteDirectory.open(folder / "directory.db"))

    async def close(self) -> None:
        await self.directory.close()

    async def _taken(self, account: str) -> bool:
        return bool(await self.books.of_account(account, "", 1))

    def _id(self, kind: str) -> str:
        return f"{kind}_{next(self._numbers)}"

    def _token(self) -> str:
        return f"token-{next(self._numbers)}"

    async def _issuer(self) -> Oidc | None:
        return self.oidc

    async def _mail(self, to: str, subject: str, text: str) -> None:
        self.mails.append((to, text))

    def api(self, routes: tuple[ApiRoute, ...] = API_TABLE.routes, *, mail: bool = False) -> Api:
        async def operate(command: str, arguments: bytes, by: object) -> bytes:
            raise AssertionError(f"nobody runs {command} here")

        desk = Desk(
            directory=self.directory,
            people=self.people,
            sign_ins=self.sign_ins,
            keyring=self.books,
            clock=self.clock,
            snapshot=lambda: None,  # type: ignore[arg-type, return-value]
            operate=operate,
            treasury=None,
            papers=None,  # type: ignore[arg-type]
            seal=lambda name, value: f"{name} {value.hex()}",
            unseal=lambda name, text: bytes.fromhex(text.removeprefix(f"{name} ")),
            mark=lambda name, value: key_digest(name.encode() + value).hex(),
            origin="http://gateway.example" if mail else None,
            mail=self._mail if mail else None,
            oidc=self._issuer,
        )
        table = ApiTable(routes)
        return Api(desk, lambda: table)

    async def fill(self) -> None:
        """Two accounts with a member of each role, a key of each scope and one object of each kind."""
        for account in ACCOUNTS:
            rows: list[Any] = [
                Account(id=account, title=account, created_ms=1),
                Team(id=f"team_{account}", account=account, title="red", created_ms=1),
                Invitation(
                    id=f"inv_{account}", account=account, email="new@example.com", role=Role.VIEWER,
                    digest=f"{account}-invitation", by="usr", created_ms=1, expires_ms=LATER_MS,
                ),
            ]  # fmt: skip
            for role in Role:
                rows += self.signed_in(f"{account}-{role.value}", account, role)
            assert await self.directory.write(rows, [], [])
            for scope in KeyScope:
                await self.books.create(
                    Key(
                        id=f"key_{account}_{scope.value}", account=account, name="k", prefix="sk", created_ms=1,
                        scopes=(scope,),
                    ),
                    key_digest(f"{account}-{scope.value}".encode()),
                )  # fmt: skip
        stranger, operator = self.signed_in("stranger", None), self.signed_in("operator", None, operator=True)
        assert await self.directory.write([*stranger, *operator], [], [])

    def signed_in(
        self, name: str, account: str | None, role: Role = Role.VIEWER, *, operator: bool = False
    ) -> list[Any]:
        """A person with a session whose token is their name."""
        person = Person(
            id=f"usr_{name}", email=f"{name}@example.com", title=name, created_ms=1, operator=operator
        )
        session = SignIn(
            id=f"ses_{name}", person=person.id, digest=digest(name), created_ms=NOW_MS, seen_ms=NOW_MS,
            expires_ms=LATER_MS, ip="", agent="", how="password",
        )  # fmt: skip
        if account is None:
            return [person, session]
        id_ = member_id(account, person.id)
        return [person, session, Member(id=id_, account=account, person=person.id, role=role, created_ms=1)]


class Answered:
    """What was answered. ``json``: its body; of an error the error. ``session``: the token of one that began."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers = status, headers
        self.json = json.loads(body) if body else None
        self.session = ""


async def ask(
    api: Api,
    method: str,
    path: str,
    *,
    session: str | None = None,
    key: str | None = None,
    body: Any = None,
    csrf: bool = True,
    headers: dict[str, str] | None = None,
    peer: str = "192.0.2.1",
) -> Answered:
    """Ask the API; errors as the gateway answers them."""
    sent = {"host": "gateway.example", **(headers or {})}
    if session is not None:
        sent["cookie"] = f"llm_router_session={session}"
    if key is not None:
        sent["authorization"] = f"Bearer {key}"
    if csrf and method != "GET":
        sent["x-llm-router-csrf"] = "1"
    plain, _, query = path.partition("?")
    data = b"" if body is None else msgspec.json.encode(body)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": data, "more_body": False}

    parts: list[Any] = []

    async def send(message: Any) -> None:
        parts.append(message)

    scope = {
        "method": method, "path": plain, "raw_path": plain.encode(), "query_string": query.encode(),
        "headers": [(n.encode(), v.encode()) for n, v in sent.items()], "client": (peer, 4711),
    }  # fmt: skip
    try:
        found = await api.serve(None, Request(scope, receive), send, plain)  # type: ignore[arg-type]
    except RouterError as error:
        return Answered(error.status, {}, msgspec.json.encode({"code": error.code, "message": error.message}))
    assert found, f"nobody knows {plain}"
    got = {name.decode(): value.decode() for name, value in parts[0]["headers"]}
    answered = Answered(parts[0]["status"], got, parts[1]["body"])
    for name, value in parts[0]["headers"]:
        if name == b"set-cookie" and value.startswith(b"llm_router_session="):
            answered.session = value.decode().partition(";")[0].partition("=")[2]
    return answered


def stubbed(route: ApiRoute) -> ApiRoute:
    """The row with a handler that does nothing, so that only access decides."""

    async def nothing(asked: Ask) -> dict[str, bool]:
        return {"reached": True}

    return msgspec.structs.replace(route, handler=nothing, body=None, status=200)


def run(main: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(120):
            return await main

    return asyncio.run(bounded())


def path_of(route: ApiRoute, account: str) -> str:
    """The path of a row with an object of that account in it."""
    ids = {
        "{hash}": f"key_{account}_inference",
        "{team}": f"team_{account}",
        "{invitation}": f"inv_{account}",
        "{account}": account,
        "{person}": f"usr_{account}-viewer",
        "{session}": f"ses_{account}-viewer",
        "{id}": "id",
    }
    path = route.path
    for name, id_ in ids.items():
        path = path.replace(name, id_)
    return f"{path}?account={account}" if route.of_account else path


def rows() -> Iterator[ApiRoute]:
    yield from API_TABLE.routes
