"""Mixed traffic for the soak test: what clients do, and what providers do to them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

MODELS = ("gpt-6-luna", "claude-sonnet-4-6", "gemini-3.5-flash", "deepseek-v4-flash")
TROUBLES = (
    "[[error 500]]", "[[error 429 after 1]]", "[[error 500 mid]]", "[[overloaded]]", "[[too-long]]", "[[cut]]",
    "[[cut clean]]", "[[stall 200ms]]", "[[malformed]]", "[[empty]]", "[[no-usage]]", "[[refuse]]",
    "[[error 500 x2]]", "[[error 500 on openai]]", "[[error 503 on anthropic]]",
)  # fmt: skip
LONG = "[[long 300]] [[slow 5ms]] Tell me of the sea."


@dataclass
class Traffic:
    """Clients of one gateway.

    Attributes:
        answers: how many requests of a kind ended in which way.
        open: requests that are on their way.
    """

    url: str
    key: str
    dice: random.Random
    answers: Counter[str] = field(default_factory=Counter)
    open: int = 0
    sent: int = 0

    async def one(self, session: aiohttp.ClientSession) -> None:
        """Some request, to its end or to where its client leaves."""
        kinds = (
            self.plain,
            self.stream,
            self.other_fronts,
            self.trouble,
            self.leave,
            self.leave_early,
            self.wrong,
        )
        kind = self.dice.choices(kinds, weights=(4, 4, 3, 4, 2, 1, 1))[0]
        self.open += 1
        self.sent += 1
        try:
            async with asyncio.timeout(60):
                how = await kind(session)
        except (aiohttp.ClientError, TimeoutError) as error:
            how = type(error).__name__
        finally:
            self.open -= 1
        self.answers[f"{kind.__name__} {how}"] += 1

    async def plain(self, session: aiohttp.ClientSession) -> str:
        return await self.post(session, "/v1/chat/completions", self.chat("What is 17*23?"))

    async def stream(self, session: aiohttp.ClientSession) -> str:
        body = self.chat("Tell me of the sea and of its ships.", stream=True)
        return await self.post(session, "/v1/chat/completions", body)

    async def other_fronts(self, session: aiohttp.ClientSession) -> str:
        model, stream = self.dice.choice(MODELS), self.dice.random() < 0.5
        message = {"role": "user", "content": f"Hello number {self.dice.randrange(10**6)}"}
        body = {"model": model, "stream": stream}
        path, more = self.dice.choice(
            (
                ("/v1/messages", {"max_tokens": 100, "messages": [message]}),
                ("/v1/responses", {"input": [message], "store": False}),
            )
        )
        return await self.post(session, path, {**body, **more})

    async def trouble(self, session: aiohttp.ClientSession) -> str:
        text = f"{self.dice.choice(TROUBLES)} Hello number {self.dice.randrange(10**6)}"
        body = self.chat(text, stream=self.dice.random() < 0.5)
        return await self.post(session, "/v1/chat/completions", body)

    async def leave(self, session: aiohttp.ClientSession) -> str:
        """A client that leaves in the middle of a stream."""
        async with session.post(
            f"{self.url}/v1/chat/completions", json=self.chat(LONG, stream=True), headers=self.headers()
        ) as reply:
            await reply.content.readany()
            reply.close()
            return str(reply.status)

    async def leave_early(self, session: aiohttp.ClientSession) -> str:
        """A client that leaves before there is an answer."""
        work = asyncio.create_task(self.post(session, "/v1/chat/completions", self.chat("[[stall 1]] Hello")))
        await asyncio.wait([work], timeout=self.dice.random() * 0.05)
        work.cancel()
        await asyncio.wait([work])
        return "left"

    async def wrong(self, session: aiohttp.ClientSession) -> str:
        """A request that the gateway itself refuses."""
        body = self.dice.choice(
            ({"model": "no-such-model", "messages": []}, {"model": MODELS[0]}, self.chat("x") | {"n": -1})
        )
        key = self.dice.choice((self.key, "sk-lr-wrong"))
        return await self.post(session, "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})

    def chat(self, text: str, *, stream: bool = False) -> dict[str, object]:
        messages = [{"role": "user", "content": text}]
        return {"model": self.dice.choice(MODELS), "messages": messages, "stream": stream, "max_tokens": 400}

    async def post(
        self,
        session: aiohttp.ClientSession,
        path: str,
        body: dict[str, object],
        headers: dict[str, str] | None = None,
    ) -> str:
        async with session.post(f"{self.url}{path}", json=body, headers=headers or self.headers()) as reply:
            await reply.read()
            return str(reply.status)

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}
