"""What a provider says with the client's own words is no word against anybody else.

A request that names a member "Incorrect API key provided" may get that back in an error, and it must not be
taken for the provider's own complaint. So the words on which a kind of error rests alone are looked for in all
that the request was made of; found there, they do not count. The comparison ignores what a server may change when
it quotes: case, white space, punctuation, escapes, forms of characters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import normalize
from urllib.parse import unquote

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.classify import message_wait
from llm_router.wire.sentences import model_named

_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
_WHITE = re.compile(r"\\+[bfnrt]")
_OTHERS = bytes(set(range(256)) - set(b"abcdefghijklmnopqrstuvwxyz0123456789"))


def weigh(error: UpstreamError, *, models: Sequence[str], sent: Sequence[bytes]) -> None:
    """Take back from an error what rests on the request's own words.

    Args:
        models: the names of the model that is asked: at the provider, and here.
        sent: the client's request and the one that went to the provider: bodies, headers.
    """
    grounds = error.grounds
    if grounds is not None:
        error.grounds = None
        if quotes([_without_own(text, models) for text in sent], grounds.words) or _begins(
            sent, grounds.words
        ):
            error.become(grounds.otherwise)
    if error.kind is UpstreamKind.NOT_FOUND and _names_another(error.message, models, sent):
        error.become(UpstreamKind.OBJECT)
    wait = None if error.retry_after_s is None else message_wait(error.message)
    if wait is not None and wait[0] == error.retry_after_s and quotes(sent, wait[1]):
        error.retry_after_s = None


def quotes(sent: Sequence[bytes], words: str) -> bool:
    """Whether words stand in any of the texts, however they are written."""
    wanted = _bare(words)
    return not wanted or any(wanted in form for text in sent for form in _forms(text))


def _forms(text: bytes) -> list[bytes]:
    """A text as it may be quoted: as it stands, and with its escapes read."""
    found = [text.lower().translate(None, _OTHERS)]
    if not text.isascii() or b"\\" in text or b"%" in text or b"&" in text:
        from html import unescape  # its table of names is large, and hardly ever looked into

        read = _ESCAPED.sub(lambda hit: chr(int(hit[1], 16)), text.decode("utf-8", "replace"))
        read = read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for form in (_WHITE.sub(" ", read), read):
            found += [_bare(form), _bare(unescape(unquote(form)))]
    return found


def _bare(text: str) -> bytes:
    """Letters and digits alone."""
    return normalize("NFKC", text).lower().encode("utf-8", "replace").translate(None, _OTHERS)


def _without_own(text: bytes, models: Sequence[str]) -> bytes:
    """A request without the member that names its model: who says "model: M" does not quote that."""
    own = b"|".join(re.escape(model.encode("utf-8", "replace")) for model in models)
    return re.sub(rb'"model"\s*:\s*"(?:' + own + rb')"', b'"model":""', text) if b'"model"' in text else text


def _begins(sent: Sequence[bytes], words: str) -> bool:
    """Whether "X not found" says X of a whole text of the request, such as the id of a file."""
    named, gone, _ = words.partition(" not found")
    return bool(gone and named) and any(b'"%b"' % named.encode() in text.lower() for text in sent)


def _names_another(message: str, models: Sequence[str], sent: Sequence[bytes]) -> bool:
    """Whether the model that is said not to be there is one that the request names beside its own."""
    named = model_named(message.strip().lower())
    if named is None:
        return False
    if any(named in own.lower() or own.lower() in named for own in models):
        return False
    whole = re.compile(rb"(?<![\w.-])" + re.escape(named.encode()) + rb"(?![\w-])", re.I)
    return any(whole.search(text) for text in sent)
