"""Providers, models and deployments: plain data, read from the catalogue and the config file."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from llm_router.domain.price import Price


class Status(StrEnum):
    """Where a model is in its life, as its developer declares it."""

    PREVIEW = "preview"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    SHUTDOWN = "shutdown"


SuccessorRule = Literal["any", "not_dearer", "none"]
"""Which successors may answer in the place of a model past its shutdown: any, those that are known to cost no
more, or none."""


OnUnpricedTools = Literal["auto", "refuse", "flag"]
"""What becomes of a request with a tool that the provider runs and that has no price: it is refused where the price of
the model is the catalogue's (not where the operator wrote it), refused, or let through and flagged."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do. Used for filters, for declared losses and by ``GET /v1/models``."""

    input_modalities: tuple[str, ...] = ("text",)  # of: text image audio video file
    output_modalities: tuple[str, ...] = ("text",)
    tools: bool = False
    parallel_tools: bool = False
    json_object: bool = False
    json_schema: bool = False
    reasoning: bool = False
    reasoning_levels: tuple[str, ...] = ()  # efforts that may be asked for; () = not adjustable
    sampling: bool = True  # False: temperature, top_p and penalties are refused upstream
    streaming: bool = True

    def sees(self, modality: str) -> bool:
        return modality in self.input_modalities


EditKind = Literal["drop", "rename", "default", "set", "clamp", "move", "limit", "replace", "merge"]


class Quirk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One declarative edit of the request that a provider needs, with its reason and source.

    Attributes:
        edit: what is done to ``field``: ``drop`` removes it (a declared loss); ``rename`` and
            ``move`` put its value at ``to``; ``default`` sets ``value`` where the field is absent;
            ``set`` sets ``value`` always; ``clamp`` bounds a number to ``[min, max]``; ``limit`` keeps
            the first ``max`` items of a list; ``replace`` looks a word up in the object ``value``;
            ``merge`` makes one of neighbouring messages of the same role.
        field: dotted path in the upstream request body ("stream_options", "a.b").
        models: glob patterns of upstream model ids it applies to; empty means all.
        when: dotted path of a member that must be there (and neither null nor empty) for it to apply;
            ``path=one|two``: that must be one of these words. For ``messages[].x`` it may be a member
            of the same item: ``messages[].y``.
        lossless: the client misses nothing by a ``drop``, so it is no declared loss.
    """

    edit: EditKind
    field: str
    why: str
    source: str = ""
    to: str | None = None
    value: msgspec.Raw | None = None
    min: float | None = None
    max: float | None = None
    models: tuple[str, ...] = ()
    when: str | None = None
    lossless: bool = False


AuthScheme = Literal["bearer", "header", "query", "sigv4", "google", "none"]

Knowledge = Literal[
    "developer", "functions", "signatures", "routing",
    "thinking", "enable_thinking", "reasoning", "cache_control", "caches", "document_url",
]  # fmt: skip
"""What a provider knows beyond what all know: the role ``developer``; the legacy ``functions`` style;
Gemini's ``signatures`` in OpenAI's form; the members about ``routing`` that routers share; how much to think by ``thinking``, ``enable_thinking``
or the object ``reasoning`` (``openai_chat/thinking.py``); Anthropic's ``cache_control`` on content; documents as ``document_url``, not as files. One
that ``caches`` looks for the longest known prefix of every prompt, unasked."""


class Parameter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a provider's address that its operator names: ``{name}`` in the URL.

    Attributes:
        what: what it is, for people: "the Google Cloud project".
        env: environment variables that may hold it, in order of preference.
        of: name of the parameter that it follows from; then nobody has to name it: it is the value in
            ``cases`` for the other's, else ``default``, in which ``{other}`` stands for that.
        default: its value if nobody names one.
    """

    name: str
    what: str
    env: tuple[str, ...] = ()
    default: str | None = None
    of: str | None = None
    cases: dict[str, str] = {}


class Way(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further dialect that a provider speaks. What is None is as for the provider's first dialect.

    Attributes:
        placement: the form in which the dialect lives there (``wire/placement.py``).
        serves: glob patterns of upstream models that are reached this way; empty means all. One that
            begins with ``!`` excludes, whatever else matches.
        upstream: how the model is named there, with ``{model}`` for its usual name.
        lacks: of the needs of a request ("image", "file", "tools", "json_schema" ...), what this way
            does not take though the model does.
        draws: of the needs of a request, those for which clients of dialects that are not spoken there
            are better served this way than by the first dialect.
        named_only: no better than the first dialect, or not offered by all versions of a server: taken
            only where a deployment names it.
    """

    dialect: str
    base_url: str | None = None
    placement: str | None = None
    auth: AuthScheme | None = None
    auth_name: str | None = None
    headers: dict[str, str] | None = None
    query: dict[str, str] | None = None
    quirks: tuple[Quirk, ...] = ()
    takes_urls: tuple[str, ...] = ()
    knows: tuple[Knowledge, ...] = ()
    serves: tuple[str, ...] = ()
    upstream: str = "{model}"
    lacks: tuple[str, ...] = ()
    draws: tuple[str, ...] = ()
    named_only: bool = False


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs models: where, how one signs in, which dialects are spoken there.

    Attributes:
        base_url: all of the address but the operation's own path: ``https://api.openai.com/v1``.
        dialect: the name of a registered dialect; ``also`` holds the further ones that it speaks.
        placement: the form in which the dialect lives there, if it is not its own (``wire/placement.py``).
        auth: scheme of the credential: ``bearer``; ``header`` (named by ``auth_name``); ``query``;
            ``sigv4``: requests are signed for AWS with ``ACCESS_KEY:SECRET[:SESSION_TOKEN]``, for the
            region ``auth_name`` or else that of the address; another key is sent as a bearer token;
            ``google``: a bearer token that is made of Google credentials and renewed.
        env: environment variables that may hold the key, in order of preference.
        key_required: False for local servers, which are active without a key.
        headers, query: sent with every request to it.
        parameters: what ``{name}`` stands for in its addresses.
        knows: what it knows beyond what all know.
        serves: the upstream models that are reached by ``dialect``, as in :class:`Way`.
        takes_urls: part kinds ("image", "file") whose https URL it fetches itself; for the others
            the gateway fetches the bytes.
        bills_abandoned: it bills a stream to its end although the connection was closed before; and the
            page that says so.
        deadline_header: in which header it takes the seconds after which nobody waits any more.
        docs_url: its public API reference.
        developer: the developer whose models it serves at first hand, as :class:`Model` spells it.
        simulated: the sandbox plays it.
        data_collection: "deny": it neither trains on what it is sent nor keeps it longer than the watch for
            abuse needs, by its own word; "allow": it may; None is unknown.
        zero_retention: it keeps nothing of it at all.
        data_source: the page that says so.
        regions: where it runs models ("eu", "us"), where that is bound to its address.
        tools: what the tools that it runs itself cost beside the tokens: picodollars of each use, of
            ``image_generation`` of each token of image, by name. 0 is a real, published zero.
    """

    id: str
    name: str
    base_url: str
    dialect: str = "openai_chat"
    auth: AuthScheme = "bearer"
    auth_name: str | None = None
    env: tuple[str, ...] = ()
    key_required: bool = True
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    quirks: tuple[Quirk, ...] = ()
    takes_urls: tuple[str, ...] = ()
    knows: tuple[Knowledge, ...] = ()
    serves: tuple[str, ...] = ()
    placement: str | None = None
    parameters: tuple[Parameter, ...] = ()
    also: tuple[Way, ...] = ()
    bills_abandoned: bool = False
    bills_abandoned_source: str | None = None
    deadline_header: str | None = None
    docs_url: str | None = None
    developer: str | None = None
    simulated: bool = False
    data_collection: Literal["allow", "deny"] | None = None
    zero_retention: bool | None = None
    data_source: str | None = None
    regions: tuple[str, ...] = ()
    tools: dict[str, int] = {}


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one provider with one price: the thing that can be called.

    Attributes:
        id: ``provider/model`` with our public model id; unique in a catalogue.
        upstream_model: what the provider calls it, or its operator, where deployments have names.
        base_names: how the model behind a name of the operator's is called usually: by the provider, by
            the catalogue. What is known by a model's name holds for it under these names too.
        price: what customers pay; None means unpriced: refused, never free.
        cost: what the provider bills the operator, where that is another price.
        quantization: precision of the weights ("fp8"); None is unknown.
        weight: its share of the calls beside the model's other deployments, where they are drawn by lot.
        tools: what the provider's own tools cost there, by name; those of no price are not in it.
    """

    id: str
    model: str
    provider: str
    upstream_model: str
    price: Price | None
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    dialect: str | None = None  # None: the provider's
    capabilities: Capabilities | None = None  # None: the model's
    quirks: tuple[Quirk, ...] = ()
    cost: Price | None = None
    base_names: tuple[str, ...] = ()
    quantization: str | None = None
    weight: int = 1
    tools: dict[str, Price] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names by which patterns find it."""
        return (self.upstream_model, *self.base_names)

    @property
    def base(self) -> str:
        """The name that tells what model it is."""
        return self.base_names[0] if self.base_names else self.upstream_model

    @property
    def operator_price(self) -> Price | None:
        """What the provider bills the operator."""
        return self.price if self.cost is None else self.cost


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for by name.

    Attributes:
        id: public id, e.g. ``claude-sonnet-4-5``.
        family: e.g. ``Claude``; developer: e.g. ``Anthropic``.
        aliases: other names that resolve to it (dated snapshots, ``provider/model`` forms).
        deployments: in the order they are preferred when all else is equal.
        successor: public id of the model that its developer names as replacement.
        operations: what it is called for: "chat", "embed".
    """

    id: str
    name: str
    family: str
    developer: str
    capabilities: Capabilities
    deployments: tuple[Deployment, ...]
    aliases: tuple[str, ...] = ()
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    status: Status = Status.ACTIVE
    released: str | None = None
    deprecated: str | None = None
    shutdown: str | None = None
    successor: str | None = None
    open_weights: bool = False
    quality_tier: int | None = None  # 1 (small) .. 5 (frontier)
    strengths: tuple[str, ...] = ()  # of: code creative fast vision reasoning
    operations: tuple[str, ...] = ("chat",)
