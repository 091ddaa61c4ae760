"""The body of a client's request in OpenAI's style: parsed strictly, once, and the words for what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest

DEPTH_MAX = 128
"""How deep JSON may nest. Schemas that providers take are an order of magnitude flatter."""

Check = Callable[[str, Any], None]
"""Refuses a member (its name, its value) with InvalidRequest."""

MODEL_CHARS_MAX = 1024
"""Of a model string, which may name several."""

MODEL = re.compile(r"[A-Za-z0-9@][A-Za-z0-9._:/@|,+-]{0,1023}")

_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Tree:
    """The request as parsed: whole, and its top-level members verbatim. Not to be changed.

    Attributes:
        ids: of the tool calls and results in its messages, if all of these are as usual; None where that is
            not known.

    ``data``: of a body that is known to be right, which is parsed when somebody looks. ``members``: those of it
    that were parsed, all but the messages.
    """

    __slots__ = ("_body", "_data", "_members", "_raw", "ids")

    def __init__(
        self,
        *,
        body: dict[str, Any] | None = None,
        raw: dict[str, msgspec.Raw] | None = None,
        data: bytes = b"",
        members: dict[str, Any] | None = None,
        ids: tuple[str, ...] | None = None,
    ) -> None:
        self._data = data
        self._body = body
        self._raw = raw
        self._members = members
        self.ids = ids

    @property
    def data(self) -> bytes:
        """The whole of a body that is known to be right; nothing of others."""
        return self._data

    @property
    def body(self) -> dict[str, Any]:
        if self._body is None:
            self._body = _decode(self._data)
        return self._body

    @property
    def members(self) -> dict[str, Any]:
        """The members beside the messages; these may be there too."""
        return self.body if self._members is None else self._members

    @property
    def raw(self) -> dict[str, msgspec.Raw]:
        if self._raw is None:
            self._raw = _decode_raw(self._data)
        return self._raw


def members_beside(body: bytes, name: str) -> tuple[dict[str, Any], dict[str, msgspec.Raw]] | None:
    """The members of a body parsed, all but one that is long, and all of them verbatim; None where the whole
    has to be looked at."""
    try:
        raw = _decode_raw(body)
        if name not in raw or any(_nests(b"[%b]" % value) for key, value in raw.items() if key != name):
            return None
        return {key: _decode(value) for key, value in raw.items() if key != name}, raw
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def parse(body: bytes, example: str) -> Tree:
    """Parse a body strictly; ``example`` shows what one looks like.

    Raises:
        InvalidRequest: it is no JSON object in UTF-8, or nests too deep.
    """
    if _nests(body):
        raise InvalidRequest(f"The request body nests deeper than {DEPTH_MAX} levels: make it flatter.")
    try:
        whole = _decode(body)
        if not isinstance(whole, dict):
            raise InvalidRequest(f"The request body must be a JSON object such as {example}.")
        return Tree(body=whole, raw=_decode_raw(body))
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not valid UTF-8: encode it as UTF-8.") from None
    except RecursionError:
        raise InvalidRequest("The request body nests too deep: make it flatter.") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None


def _nests(body: bytes) -> bool:
    """Whether brackets outside of strings nest deeper than the limit; linear in the body."""
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return False
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    brackets = b"".join(plain.split(b'"')[::2]).translate(None, _NOT_BRACKETS)
    for _ in range(DEPTH_MAX):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return False
    return True


def model_of(members: dict[str, Any], path_model: str | None) -> str:
    """The model string; ``path_model`` stands in for a member that the body leaves out, the first of
    ``models`` for both, and for all of them the ``preset``.

    Raises:
        InvalidRequest: there is none, or it cannot be one.
    """
    model = members.get("model")
    if model is None:
        model = path_model if path_model is not None else stand_in(members)
    if model is None:
        raise InvalidRequest("You must name a model in 'model'. GET /v1/models lists them.", param="model")
    if not isinstance(model, str):
        raise InvalidRequest("'model' must be a string.", param="model")
    if not MODEL.fullmatch(model):
        raise InvalidRequest(
            f"'model' must be a model id of 1 to {MODEL_CHARS_MAX} letters, digits and any of . _ : / @ | , + - "
            "that begins with a letter, a digit or @. GET /v1/models lists the ids.",
            param="model",
        )
    return model


def stand_in(members: dict[str, Any]) -> str | None:
    """The model string of a body that has no ``model``: the first of ``models``, else the ``preset`` as it would
    stand in ``model``; None if there is neither.

    Raises:
        InvalidRequest: one of them is none.
    """
    listed, preset = members.get("models"), members.get("preset")
    if listed is not None and (
        not isinstance(listed, list) or not all(isinstance(name, str) for name in listed)
    ):
        raise bad("models", 'must be a list of model names such as ["gpt-5"]')
    if listed and listed[0]:
        return str(listed[0])
    if preset is None:
        return None
    if not isinstance(preset, str) or not preset:
        raise bad("preset", "must be the name of a preset")
    return f"@{preset.removeprefix('@preset/').removeprefix('@')}"


def first_text(members: dict[str, Any], *names: str) -> str | None:
    """The first of these members that is a text with anything in it."""
    for name in names:
        value = members.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def bad(param: str, what: str) -> InvalidRequest:
    """The error for a member: ``'param' must be ...``."""
    return InvalidRequest(f"'{param}' {what}.", param=param)


def number_within(low: float, high: float) -> Check:
    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise bad(name, f"must be a number from {low} to {high}")

    return check


def whole_within(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise bad(name, f"must be a whole number from {low} to {high}")

    return check


def of_type(type_: type, what: str) -> Check:
    def check(name: str, value: Any) -> None:
        if not isinstance(value, type_):
            raise bad(name, f"must be {what}")

    return check
