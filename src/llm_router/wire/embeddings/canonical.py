"""An embedding request without its wire, and its reply."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import msgspec

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.domain.usage import Usage
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Observed, Target
from llm_router.wire.events import Event, Failed
from llm_router.wire.loss import Loss
from llm_router.wire.quirks import apply_quirks

Purpose = Literal[
    "query", "document", "similarity", "classification", "clustering", "question", "fact", "code_query"
]
"""What the vectors are for; many models embed a question otherwise than the text that answers it."""

Input = str | tuple[int, ...]
"""A text, or its tokens in the vocabulary of the model."""


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Embed ``inputs``, each to one vector.

    Attributes:
        dimensions: length of the vectors; None leaves it to the model.
        purposes, titles: of each input; empty where the client says nothing of any.
        purpose_field: what the client calls the former, for declared losses.
        truncate: cut an input that is too long (True) or refuse it (False); None is the provider's habit.
        extras: members that the canonical form has no word for, verbatim, by their name in ``dialect``.
    """

    model: str
    dialect: str
    inputs: tuple[Input, ...]
    dimensions: int | None = None
    purposes: tuple[Purpose | None, ...] = ()
    purpose_field: str = "input_type"
    titles: tuple[str | None, ...] = ()
    truncate: bool | None = None
    user: str | None = None
    extras: dict[str, Raw] = {}


class EmbedReply(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors, in the order of the inputs. ``usage`` None: the provider reported none."""

    vectors: tuple[tuple[float, ...], ...]
    id: str = ""
    model: str = ""
    usage: Usage | None = None
    flags: tuple[str, ...] = ()

    def observed(self) -> Observed:
        """What a relay would have observed of it."""
        return Observed(
            content_started=True,
            ended=True,
            produced=True,
            usage=self.usage,
            upstream_id=self.id or None,
            upstream_model=self.model or None,
            flags=list(self.flags),
        )


def malformed(what: str) -> UpstreamError:
    """The provider sent something that is no answer of its format."""
    return UpstreamError(f"The provider sent {what}.", kind=UpstreamKind.MALFORMED)


def check_count(vectors: int, inputs: int) -> None:
    """Refuse an answer that does not hold one vector for each input.

    Raises:
        UpstreamError: MALFORMED.
    """
    if vectors != inputs:
        raise malformed(f"{vectors} vectors for {inputs} inputs")


_MEMBERS = ("dimensions", "encoding_format", "input_type", "truncate", "output_dtype")
"""Members of embedding requests that a provider's declared edits may write."""


def edited(body: dict[str, Any], target: Target) -> list[Loss]:
    """Apply the provider's declared edits in place; return what was lost by them.

    They are declared for a provider, whatever it is asked: those that would write a member which only
    chats have are passed over.
    """
    quirks = tuple(q for q in target.quirks if q.edit not in ("set", "default") or q.field in _MEMBERS)
    return apply_quirks(body, quirks, *target.names)


class NeverStreamed:
    """The stream decoder of an operation whose replies come whole: an event stream is no answer of it."""

    def feed(self, data: bytes) -> list[Event]:
        return []

    def close(self) -> list[Event]:
        return [Failed(error=malformed("an event stream where a JSON object belongs"))]


def never_streamed(*_: object) -> NoReturn:
    """Stands where a dialect names its stream functions; a request that is not streamed reaches none."""
    raise AssertionError("embeddings are not streamed")
