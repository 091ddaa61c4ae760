"""What the fronts of embeddings share: reading a body, checking its inputs, measuring them."""

from __future__ import annotations

import msgspec

from llm_router.domain.errors import InvalidRequest
from llm_router.wire.chat import Raw
from llm_router.wire.embeddings.canonical import Input
from llm_router.wire.verbatim import members, value

INPUTS_MAX = 2048
"""https://platform.openai.com/docs/api-reference/embeddings/create"""

DIMENSIONS_MAX = 65_536
"""Above what any model has."""

INPUT_BYTES = 4
"""Counted for each input beside its text: models put marks of begin and end around it."""

_TOKENS = msgspec.json.Decoder(list[int])
TOKEN_MAX = 2**31 - 1


def read_object(body: bytes) -> dict[str, Raw]:
    """The members of the body, verbatim.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    found = members(body)
    if found is None:
        raise InvalidRequest("The request body must be a JSON object.")
    return found


def read_name(raw: Raw | None, param: str = "model") -> str:
    """The name of the model.

    Raises:
        InvalidRequest: it is missing or no name.
    """
    name = value(raw)
    if not isinstance(name, str) or not name.strip() or len(name) > 300:
        raise InvalidRequest(f"{param} must be the name of a model.", param=param)
    return name


def read_whole(raw: Raw | None, param: str, most: int) -> int | None:
    """A whole number of at least 1; None where it is absent or null.

    Raises:
        InvalidRequest: it is something else.
    """
    number = value(raw)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        raise InvalidRequest(f"{param} must be a whole number from 1 to {most}.", param=param)
    return number


def read_text(raw: Raw | None, param: str) -> str | None:
    """A string; None where it is absent or null.

    Raises:
        InvalidRequest: it is something else.
    """
    text = value(raw)
    if text is not None and not isinstance(text, str):
        raise InvalidRequest(f"{param} must be a string.", param=param)
    return text


def read_tokens(raw: Raw, param: str) -> tuple[int, ...]:
    """An array of tokens.

    Raises:
        InvalidRequest: it is none, or empty.
    """
    try:
        tokens = tuple(_TOKENS.decode(raw))
    except msgspec.MsgspecError:
        raise InvalidRequest(f"{param} must hold only strings, or only tokens.", param=param) from None
    if not tokens:
        raise InvalidRequest(f"{param} is empty: there is nothing to embed.", param=param)
    if not all(0 <= token <= TOKEN_MAX for token in tokens):
        raise InvalidRequest(f"{param} holds a number that is no token.", param=param)
    return tokens


def check_text(text: object, param: str) -> str:
    """A text that can be embedded.

    Raises:
        InvalidRequest: it is no string, or an empty one.
    """
    if not isinstance(text, str):
        raise InvalidRequest(f"{param} must be a string.", param=param)
    if not text:
        raise InvalidRequest(f"{param} is an empty string: there is nothing to embed.", param=param)
    return text


def check_number(count: int, param: str) -> None:
    """
    Raises:
        InvalidRequest: there are no inputs, or too many.
    """
    if count == 0:
        raise InvalidRequest(f"{param} is empty: there is nothing to embed.", param=param)
    if count > INPUTS_MAX:
        raise InvalidRequest(
            f"{param} has {count} items; at most {INPUTS_MAX} are taken in one request. Send several requests.",
            param=param,
        )


def measure(inputs: tuple[Input, ...]) -> tuple[int, int]:
    """(bytes of text, tokens that came as such)."""
    text_bytes = INPUT_BYTES * len(inputs)
    tokens = 0
    for item in inputs:
        if isinstance(item, str):
            text_bytes += len(item.encode("utf-8", "replace"))
        else:
            tokens += len(item)
    return text_bytes, tokens
