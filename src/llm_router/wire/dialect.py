"""What a dialect is: a frozen record of functions. No base class, no registry magic.

The engine uses a dialect in three places:

* **in front** (the client speaks it): ``inspect``, then ``decode_request`` if the plan needs the
  canonical form; ``encode_reply`` or ``stream_encoder`` for the way back; ``encode_error``.
* **behind** (the provider speaks it): ``encode_request``, ``decode_reply`` or ``stream_decoder``,
  ``decode_error``, ``upstream_url``.
* **both at once** (pass-through): ``edit_request``, ``pass_reply``, ``pass_relay``.

A dialect that no client speaks is a :class:`Behind` alone, one that no provider is asked in a
:class:`Front`. All three are generic over the canonical request and reply of the operation: a chat
where nothing else is said, an embedding in :mod:`wire.embeddings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol

import msgspec

from llm_router.domain.errors import RouterError, UpstreamError
from llm_router.domain.model import Capabilities, Knowledge, Quirk
from llm_router.domain.record import Seam
from llm_router.domain.usage import Usage
from llm_router.wire.again import Again
from llm_router.wire.chat import ChatRequest, Part
from llm_router.wire.cut import Cut
from llm_router.wire.events import Event, Reply
from llm_router.wire.heads import Head, plain_head
from llm_router.wire.loss import Loss
from llm_router.wire.plain import PlainReply, PlainRequest

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    Asked = TypeVar("Asked", default=ChatRequest)
    Answered = TypeVar("Answered", default=Reply)
else:  # a default is what only type checkers need
    from typing import TypeVar

    Asked = TypeVar("Asked")
    Answered = TypeVar("Answered")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment a request is written for, as far as the wire needs to know it.

    Attributes:
        model: the provider's own id of the model, which is written into the request.
        base_names: of the deployment: how the model is called usually, where that id does not tell.
        capabilities, output_tokens_max: of the deployment.
        quirks: declared edits, the provider's first, then the deployment's own.
        output_tokens_cap: if set and the client named no limit, write this one (what the balance
            affords).
        knows: what the provider knows beyond what all know.
    """

    provider: str
    model: str
    dialect: str
    capabilities: Capabilities = Capabilities()
    output_tokens_max: int | None = None
    quirks: tuple[Quirk, ...] = ()
    output_tokens_cap: int | None = None
    takes_urls: tuple[str, ...] = ()
    knows: tuple[Knowledge, ...] = ()
    base_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names by which patterns find the model."""
        return (self.model, *self.base_names)

    @property
    def base(self) -> str:
        """The name that tells what model it is."""
        return self.base_names[0] if self.base_names else self.model


class ReplyContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder needs to know beside the events.

    Attributes:
        reply_id: the id to use when the provider's is absent or not of the dialect's form.
        model: to use when the provider names none: the public id.
        created_s: Unix seconds, to use when the provider gives none.
        usage_chunk: whether a stream ends with its usage (OpenAI chat's include_usage).
        legacy_functions: the client spoke the legacy functions style.
        json_array: the client wants a JSON array, not SSE (Gemini without ``alt=sse``).
        prompt_tokens_estimate: for dialects whose first event carries input tokens.
        custom_tools: names of free-text tools that the client offered.
        echo: members of the request that the dialect's replies repeat (Responses does) or are written by.
        inputs: of :class:`Inspected`.
        state: members of the reply that the gateway answers for in place of the provider, since it keeps
            replies itself; where there are any, the reply's id is ``reply_id`` too.
    """

    reply_id: str
    model: str
    created_s: int
    usage_chunk: bool = True
    legacy_functions: bool = False
    json_array: bool = False
    prompt_tokens_estimate: int = 0
    custom_tools: tuple[str, ...] = ()
    echo: dict[str, msgspec.Raw] = {}
    inputs: int = 1
    state: Mapping[str, msgspec.Raw] = {}


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange came to. ``usage`` is what was metered; None when nothing is known.

    Money is picodollars; the encoder writes it as exact decimal dollars. ``seams``: where the answer broke off
    and another stream went on.
    """

    usage: Usage | None
    cost_pusd: int
    credits_remaining_pusd: int
    seams: tuple[Seam, ...] = ()


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer may cost beside the tokens that can be counted here.

    Attributes:
        unseen_tokens: the most of files of which only the provider knows how large they are.
        lookup_tokens: the most that tools which the provider runs may add to the input.
        searches: how often the provider may search the web at most.
        tools: other tools that the provider runs, each with the most that one answer may use of it.
    """

    unseen_tokens: int = 0
    lookup_tokens: int = 0
    searches: int = 0
    tools: tuple[tuple[str, Usage], ...] = ()


class Short(msgspec.Struct, frozen=True):
    """A request whose pictures were cut out.

    Attributes:
        tree: in the place of :attr:`Inspected.tree`.
    """

    cut: Cut
    tree: object


class Inspected(msgspec.Struct, kw_only=True):
    """What ``inspect`` found in a request: enough to admit, route and hold, without decoding it.

    Attributes:
        model: as the client wrote it.
        output_tokens: the largest token limit in the request, over all fields that hold one; None
            if there is none.
        n: choices asked for.
        text_bytes: UTF-8 bytes of all text that will be counted as input (messages, tools, schema).
        input_tokens: tokens that came as such, beside the text.
        inputs: how many independent inputs there are, each with the whole context window to itself.
        images, files, audio_bytes: media, for the hold (files in bytes of base64 or 0 for URLs).
        needs: of "image", "audio", "video", "file", "tools", "json_object", "json_schema", "stream",
            "no_output" (an output limit of 0), and "tool:NAME" of each tool of ``beside``.
        beside: what it may cost otherwise; None if nothing.
        usage_chunk: the client's ``include_usage``; None if it did not say.
        media_urls: http(s) URLs of media, with their part kind ("image", "audio", "video", "file").
        tree: the dialect's own parse, for its decode_request and edit_request. Not to be changed.
        echo: for :attr:`ReplyContext.echo`.
        keeps_state: the gateway keeps what the request asks to be kept: the provider is asked for none.
        losses: what is lost whoever answers.
        routing: what it says to the gateway (:mod:`wire.routed`), as plain values.
        plain: there is nothing in it but a model, turns of text, and options.
        repeats: its last two turns with tool calls may make the same ones; False only where that is excluded.
        short: its form without pictures, if ``edit_request`` can do with that.
    """

    model: str
    stream: bool
    tree: object
    output_tokens: int | None = None
    n: int = 1
    text_bytes: int = 0
    input_tokens: int = 0
    inputs: int = 1
    images: int = 0
    file_bytes: int = 0
    audio_bytes: int = 0
    beside: Beside | None = None
    needs: frozenset[str] = frozenset()
    usage_chunk: bool | None = None
    legacy_functions: bool = False
    json_array: bool = False
    custom_tools: tuple[str, ...] = ()
    media_urls: tuple[tuple[str, str], ...] = ()
    session: str | None = None
    service_tier: str | None = None
    echo: dict[str, msgspec.Raw] = {}
    keeps_state: bool = False
    losses: tuple[Loss, ...] = ()
    routing: Mapping[str, Any] = {}
    plain: bool = False
    repeats: bool = True
    short: Short | None = None


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """Media the gateway fetched for a provider that takes only bytes."""

    media_type: str
    data: str  # base64


class Observed(msgspec.Struct, kw_only=True):
    """What a relay has learned so far. Read by the engine; written by the relay alone.

    Attributes:
        content_started: the first content byte is out (or ready): no silent fallback any more.
        ended: the reply is proven complete.
        usage: the last usage reported; None if none was, or if it was nonsense (see ``flags``).
        error: set when the stream failed; terminal.
        output_chars, reasoning_chars: characters delivered, for counting when no usage comes.
        produced: something was delivered that is not counted in characters (vectors).
        upstream_id: the provider's own reply id; reply_id: what the client sees.
    """

    content_started: bool = False
    ended: bool = False
    usage: Usage | None = None
    error: UpstreamError | None = None
    finish: str | None = None
    native_finish: str | None = None
    output_chars: int = 0
    reasoning_chars: int = 0
    produced: bool = False
    upstream_id: str | None = None
    upstream_model: str | None = None
    reply_id: str | None = None
    flags: list[str] = msgspec.field(default_factory=list)
    losses: list[Loss] = msgspec.field(default_factory=list)

    @property
    def usage_is_nonsense(self) -> bool:
        """Whether there is no usage because what was reported is no count."""
        return self.usage is None and "usage_invalid" in self.flags


class StreamDecoder(Protocol):
    """Upstream bytes to events. Never raises: what it cannot read becomes a Failed event."""

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by these bytes."""
        ...

    def close(self) -> list[Event]:
        """The upstream closed cleanly: the last events, Ended or Failed among them."""
        ...


class StreamEncoder(Protocol):
    """Events to client bytes. Finished and UsageSeen may be held until ``finish``."""

    losses: list[Loss]

    def encode(self, event: Event) -> bytes: ...

    def finish(self, bill: Bill) -> bytes:
        """The last usage message, with cost and credits, and the end marker."""
        ...

    def fail(self, error: RouterError, request_id: str) -> bytes:
        """An error in mid-stream, in the dialect's own form, without an end marker."""
        ...


class Relay(Protocol):
    """Upstream bytes to client bytes, and what was observed on the way. See :mod:`wire.relay`.

    Attributes:
        again: tells events like the one before, which need not be fed then; None while it is not known how.
    """

    observed: Observed
    again: Again | None

    def feed(self, data: bytes) -> bytes:
        """Client bytes that these upstream bytes complete; b"" until the first content."""
        ...

    def close(self) -> bytes:
        """The upstream closed cleanly. Afterwards ``observed.ended`` or ``observed.error`` is set."""
        ...

    def finish(self, bill: Bill) -> bytes:
        """The held-back last usage message with the bill in it, and the end marker."""
        ...

    def fail(self, error: RouterError, request_id: str) -> bytes: ...

    def handover(self, encoder: StreamEncoder, told: Sequence[Event]) -> StreamEncoder:
        """The encoder that goes on in this relay's place: a new one of the client's dialect, brought to where
        the relay stopped by the events that were told, or the relay's own. What it made of them is dropped."""
        ...


class PassedReply(Protocol):
    """A whole reply on the same-dialect path: observed, put right, awaiting its bill."""

    observed: Observed

    def finish(self, bill: Bill) -> bytes: ...


class Unframer(Protocol):
    """Takes a dialect's stream out of the framing of the platform it lives on."""

    def feed(self, data: bytes) -> bytes:
        """What these bytes complete, in the dialect's own framing.

        Raises:
            UpstreamError: what came before it has been given; the stream cannot be read any further.
        """
        ...


class Behind(msgspec.Struct, Generic[Asked, Answered], frozen=True, kw_only=True):
    """How providers of a wire format are spoken to: the half of a dialect that no client needs.

    Functions, with who calls them:
        encode_request(request, target): upstream body, and what was lost in it.
            Raises UnsupportedContent where content cannot be expressed at all.
        decode_reply(body): a whole reply. Raises UpstreamError (MALFORMED, or what it reports).
        decode_error(status, headers, body): an upstream error, classified. Never raises. Header
            names are lower case.
        upstream_url(base_url, operation, model, stream): the full URL of an operation; tolerant of
            a base URL with or without its version segment where the dialect's clients are.
        upstream_headers(stream): headers the dialect asks for beside auth.
        json_lines: its streams are lines of JSON, so that an opening brace is no sign of a whole reply.
        forwards: headers of a client of the same dialect that go on to the provider.
        state_members(data): of a whole reply or stream, by choice, members of the message that must
            come back verbatim; None where the canonical parts are exact. Never raises.
        place(body, headers, operation): the body and the forwarded headers as the platform takes them
            that the dialect lives on, and what was lost by it.
        unframe(): where the platform wraps the stream; see :mod:`wire.placement` for both.
        write_plain(request, target): what ``encode_request`` makes of a plain request, if nothing of it is lost.
        read_plain(body): what ``decode_reply`` makes of a plain reply; None of any other. Neither raises.
    """

    name: str
    encode_request: Callable[[Asked, Target], tuple[bytes, tuple[Loss, ...]]]
    decode_reply: Callable[[bytes], Answered]
    stream_decoder: Callable[[], StreamDecoder]
    decode_error: Callable[[int, Mapping[str, str], bytes], UpstreamError]
    upstream_url: Callable[[str, str, str, bool], str]
    upstream_headers: Callable[[bool], tuple[tuple[str, str], ...]]
    json_lines: bool = False
    forwards: tuple[str, ...] = ()
    state_members: Callable[[bytes], dict[int, dict[str, msgspec.Raw]]] | None = None
    place: (
        Callable[[bytes, Mapping[str, str], str], tuple[bytes, dict[str, str], tuple[Loss, ...]]] | None
    ) = None
    unframe: Callable[[], Unframer] | None = None
    write_plain: Callable[[PlainRequest, Target], bytes | None] | None = None
    read_plain: Callable[[bytes], PlainReply | None] | None = None


def nothing_plain(body: bytes) -> None:
    """No reply is plain."""


class Dialect(Behind[Asked, Answered], Generic[Asked, Answered], frozen=True, kw_only=True):
    """A wire format and its whole codec, for clients and providers.

    Functions beside those of :class:`Behind`, with who calls them:
        inspect(body, path_model, path_stream): validate and measure a request.
            Raises InvalidRequest with ``param`` set, for whatever the dialect's own API refuses.
        decode_request(inspected): canonical form. Never fails on unknown members.
        edit_request(inspected, target, fetched): the client's own bytes with the named members
            changed (model, include_usage, quirks, media that had to be fetched).
        encode_reply(reply, context, bill): a whole reply in this dialect.
        pass_reply(body, context): same-dialect reply with only its faults mended.
        pass_plain(body): the same, of a plain reply to a plain request; None where there is more to look at, or no such way.
        encode_error(error, request_id): the dialect's error envelope.
        reply_id_prefix: how the ids of its replies begin; a provider's id that begins so is kept.
        inspect_count_tokens: as inspect, for a request whose tokens are only to be counted; None where
            the dialect has no such operation.
        plain_request(inspected): a request that ``inspect`` found plain, for dialects that write such ones.
        tell_plain(reply, context, bill): what ``encode_reply`` makes of a plain reply of another dialect.
        restored(inspected, turns): the client's own request with opaque state put back into messages,
            by their place; None where it is decoded and encoded for that.
        heartbeat: bytes that tell a waiting stream reader "still there" and nothing else.
        key_parameter: the query parameter in which its clients may send their key.
        head(head): the lines in which the API tells the id of a reply and what is left of the limits.
        words: canonical fields of a request by the API's own paths, in which losses are told.
    """

    content_type_stream: str
    inspect: Callable[[bytes, str | None, bool | None], Inspected]
    decode_request: Callable[[Inspected], Asked]
    edit_request: Callable[[Inspected, Target, Mapping[str, Fetched]], tuple[bytes, tuple[Loss, ...]]]
    encode_reply: Callable[[Answered, ReplyContext, Bill], tuple[bytes, tuple[Loss, ...]]]
    pass_reply: Callable[[bytes, ReplyContext], PassedReply]
    pass_relay: Callable[[ReplyContext], Relay]
    stream_encoder: Callable[[ReplyContext], StreamEncoder]
    encode_error: Callable[[RouterError, str], bytes]
    reply_id_prefix: str = ""
    inspect_count_tokens: Callable[[bytes, str | None, bool | None], Inspected] | None = None
    restored: Callable[[Inspected, Mapping[int, tuple[Part, ...]]], Inspected] | None = None
    heartbeat: bytes = b": heartbeat\n\n"
    key_parameter: str | None = None
    pass_plain: Callable[[bytes], PassedReply | None] = nothing_plain
    plain_request: Callable[[Inspected], PlainRequest] | None = None
    tell_plain: Callable[[PlainReply, ReplyContext, Bill], bytes] | None = None
    head: Callable[[Head], str] = plain_head
    words: Mapping[str, str] = {}


class Front(msgspec.Struct, Generic[Asked, Answered], frozen=True, kw_only=True):
    """A wire format that clients speak and no provider is asked in: the other half of a dialect.

    Its requests always cross a bridge. The members are those of :class:`Dialect`.
    """

    name: str
    content_type_stream: str
    inspect: Callable[[bytes, str | None, bool | None], Inspected]
    decode_request: Callable[[Inspected], Asked]
    encode_reply: Callable[[Answered, ReplyContext, Bill], tuple[bytes, tuple[Loss, ...]]]
    stream_encoder: Callable[[ReplyContext], StreamEncoder]
    encode_error: Callable[[RouterError, str], bytes]
    reply_id_prefix: str = ""
    inspect_count_tokens: Callable[[bytes, str | None, bool | None], Inspected] | None = None
    heartbeat: bytes = b": heartbeat\n\n"
    key_parameter: str | None = None
    head: Callable[[Head], str] = plain_head
    words: Mapping[str, str] = {}


Spoken = Dialect[Any, Any] | Front[Any, Any]
"""What a client speaks, whatever it asks for."""
