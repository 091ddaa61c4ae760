"""Instructor: objects of a schema out of OpenAI's, Anthropic's and Google's clients."""

from __future__ import annotations

import os
from typing import Any

import instructor
import kit
from pydantic import BaseModel

os.environ |= {
    "OPENAI_BASE_URL": f"{kit.ROOT}/v1",
    "OPENAI_API_KEY": kit.KEY,
    "ANTHROPIC_BASE_URL": kit.ROOT,
    "ANTHROPIC_API_KEY": kit.KEY,
    "GOOGLE_GEMINI_BASE_URL": kit.ROOT,
    "GOOGLE_API_KEY": kit.KEY,
}


class Person(BaseModel):
    name: str
    age: int


def make(kind: str, model: str) -> Any:
    provider = {"openai": "openai", "anthropic": "anthropic", "google": "google"}[kind]
    return instructor.from_provider(f"{provider}/{model}")


def asked(text: str) -> Any:
    return [{"role": "user", "content": text}]


def add(row: kit.Client, kind: str) -> None:
    each, once = row.each, row.once

    @each
    def structured(model: str) -> None:
        found = make(kind, model).create(response_model=Person, messages=asked(kit.PERSON_TOLD))
        assert (found.name, found.age) == ("Ada Lovelace", 36), found

    @each
    def stream(model: str) -> None:
        last: Any = None
        for part in make(kind, model).create_partial(response_model=Person, messages=asked(kit.PERSON_TOLD)):
            last = part
        assert (last.name, last.age) == ("Ada Lovelace", 36), last

    @each
    def retry(model: str) -> None:
        if kind == "google":
            return  # nothing below it tries again
        found = kit.waited(
            lambda: make(kind, model).create(
                response_model=Person, messages=asked(kit.ordered_retry(row.name, model) + kit.PERSON_TOLD)
            )
        )
        assert found.age >= 0

    @once
    def unknown_model() -> str:
        made = make(kind, kit.UNKNOWN)
        return kit.raises(
            Exception, lambda: made.create(response_model=Person, messages=asked("hi"), max_retries=1)
        )


rows = []
for kind in ("openai", "anthropic", "google"):
    row = kit.Client(f"instructor ({kind})", "instructor")
    add(row, kind)
    rows.append(row)
kit.report(*rows)
