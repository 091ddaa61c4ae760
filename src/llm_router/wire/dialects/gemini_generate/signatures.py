"""Opaque reasoning state on its way through ``thoughtSignature``.

Google's own signatures travel as they are. State of another provider (an Anthropic thinking
signature, encrypted reasoning) is wrapped, so that a Gemini client carries it back like any
signature and the next turn can be told apart. The field is ``bytes`` in Google's schema: the text
must be base64, and a client may send it back in the URL-safe alphabet.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from llm_router.wire.dialects.gemini_generate.members import NAME

SKIP = "skip_thought_signature_validator"
"""The documented value for calls that Gemini did not make itself
(https://ai.google.dev/gemini-api/docs/thought-signatures)."""

_MAGIC = b"\x00lr1"
_PREFIX = base64.b64encode(_MAGIC)[:5].decode()  # the characters that the magic alone decides


class Carried(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one ``thoughtSignature`` carries."""

    origin: str = msgspec.field(default=NAME, name="o")
    signature: str | None = msgspec.field(default=None, name="s")
    redacted: str | None = msgspec.field(default=None, name="r")
    id: str | None = msgspec.field(default=None, name="i")


def wrap(carried: Carried) -> str | None:
    """The ``thoughtSignature`` that carries it; None if there is nothing to carry."""
    if carried.origin == NAME and carried.redacted is None:
        return carried.signature
    if carried.signature is None and carried.redacted is None:
        return None
    return base64.b64encode(_MAGIC + msgspec.json.encode(carried)).decode()


def unwrap(signature: object) -> Carried | None:
    """What a ``thoughtSignature`` carries; None for none and for the placeholder of no signature."""
    if not isinstance(signature, str) or not signature or signature == SKIP:
        return None
    if signature.startswith(_PREFIX):
        text = signature.replace("-", "+").replace("_", "/")
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4))
            if data.startswith(_MAGIC):
                return msgspec.json.decode(data[len(_MAGIC) :], type=Carried)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            pass
    return Carried(signature=signature)
