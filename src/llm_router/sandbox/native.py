"""What the sandbox needs of a wire format that the gateway speaks to providers alone: its other half.

These formats have no clients in the gateway, so that here requests are read and replies are written
as the provider does it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.wire.chat import ChatRequest, Media, Raw, Text
from llm_router.wire.dialect import Bill, Inspected, ReplyContext, StreamEncoder
from llm_router.wire.events import Finish, Reply
from llm_router.wire.loss import Loss


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's side of a format; the members mean what they mean in a Dialect."""

    name: str
    content_type_stream: str
    inspect: Callable[[bytes, str | None, bool | None], Inspected]
    decode_request: Callable[[Inspected], ChatRequest]
    encode_reply: Callable[[Reply, ReplyContext, Bill], tuple[bytes, tuple[Loss, ...]]]
    stream_encoder: Callable[[ReplyContext], StreamEncoder]


class Encoder:
    """What the encoders of streams share: their failures are written by the form itself."""

    def __init__(self, context: ReplyContext) -> None:
        self.context = context
        self.losses: list[Loss] = []
        self.finish_reason = Finish.STOP
        self.stop_sequence: str | None = None

    def fail(self, error: RouterError, request_id: str) -> bytes:
        return b""


def text_of(content: tuple[Text | Media, ...]) -> str:
    """The text of a message's content."""
    return "\n".join(part.text for part in content if isinstance(part, Text))


def image(url: str) -> Media:
    """An image by its address or data URL."""
    head, comma, data = url.partition(";base64,")
    if comma and head.startswith("data:"):
        return Media(form="image", data=data, media_type=head[5:])
    return Media(form="image", url=url)


def json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def json_raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def same(body: bytes) -> bytes:
    return body


def unmended(message: dict[str, object], model: str, counted: bool) -> dict[str, object]:
    """Nothing of the gateway is in these replies, and usage is left out where it is not to be told."""
    return message


def nothing_listed() -> object:
    return {"models": []}
