"""What a provider says with the client's own words is no word against anybody else.

A request that names a member "Incorrect API key provided" may get that back in an error, and it must not be
taken for the provider's own complaint. So the words on which a kind of error rests alone are looked for in all
that the request was made of; found there, they do not count. The comparison ignores what a server may change when
it quotes: case, white space, punctuation, escapes, forms of characters, tags, the parts that a text came in,
and base64.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from unicodedata import normalize
from urllib.parse import unquote

from llm_router.domain import late
from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire.classify import message_wait
from llm_router.wire.lenient import load
from llm_router.wire.sentences import model_named

_ESCAPED = late.compile(r"\\+u([0-9a-fA-F]{4})")
_TAGS = late.compile(rb"<[^<>]*>")
_TAGS_READ = late.compile(r"<[^<>]*>")
_BASE64 = late.compile(rb"[A-Za-z0-9+/_-]{16,}")
_STANDARD = bytes.maketrans(b"-_", b"+/")
DECODED_BYTES_MAX = 1 << 20
"""How much base64 of a request is looked into."""
_TEXTS = frozenset(
    ("text", "content", "input", "output", "parts", "prompt", "system", "instructions", "arguments")
)
"""Members that hold what is said to a model."""
_PIECES = late.compile(r"[\x00-\x7f]+[^\x00-\x7f]{0,32}|[^\x00-\x7f]{1,32}")
_WHITE = late.compile(r"\\+[bfnrt]")
_OPEN = {UpstreamKind.INVALID_REQUEST, UpstreamKind.OBJECT, UpstreamKind.PERMISSION}
"""What leaves open whose fault it is: the words may be the provider's own, and stand in the request by chance."""
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
        if quotes(_and_joined([_without_own(text, models) for text in sent]), grounds.words) or _begins(
            sent, grounds.words
        ):
            if grounds.otherwise in _OPEN:
                error.suspected = UpstreamKind.PERMISSION if error.status == 403 else error.kind
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


def _and_joined(sent: Sequence[bytes]) -> list[bytes]:
    """The same texts, and those of their parts put together as a provider may do before it quotes them."""
    every = list(sent)
    for text in sent:
        body = load(text) if text[:1] in b"{[" else None
        if body is None:
            continue
        leaves = list(_leaves(body, "", ""))
        said = [leaf for leaf in leaves if leaf[1] in _TEXTS]
        roles = dict.fromkeys(role for role, _, _ in said)
        several = [leaves, said, *([leaf for leaf in said if leaf[0] == role] for role in roles)]
        every += ["".join(text for _, _, text in some).encode("utf-8", "replace") for some in several]
        every += _decoded(text)
    return every


def _leaves(value: object, role: str, name: str) -> Iterator[tuple[str, str, str]]:
    """The strings of a body in their order: in whose turn, in which member, what."""
    todo = [(value, role, name)]
    while todo:
        value, role, name = todo.pop()
        if isinstance(value, str):
            yield role, name, value
        elif isinstance(value, dict):
            own = value.get("role")
            role = own if isinstance(own, str) else role
            todo += [(each, role, str(member)) for member, each in reversed(value.items())]
        elif isinstance(value, list):
            todo += [(each, role, name) for each in reversed(value)]


def _decoded(text: bytes) -> list[bytes]:
    """What stands in a body as base64: the texts of files."""
    found, left = list[bytes](), DECODED_BYTES_MAX
    for hit in _BASE64.finditer(text):
        some = hit[0][:left]
        left -= len(some)
        if not some:
            break
        found.append(b64decode(some[: len(some) & ~3].translate(_STANDARD)))
    return found


def _forms(text: bytes) -> list[bytes]:
    """A text as it may be quoted: as it stands, with its escapes read, and without its tags."""
    found = [text.lower().translate(None, _OTHERS)]
    if b"<" in text:
        found.append(_TAGS.sub(b"", text).lower().translate(None, _OTHERS))
    if not text.isascii() or b"\\" in text or b"%" in text or b"&" in text:
        from html import unescape  # its table of names is large, and hardly ever looked into

        read = _ESCAPED.sub(lambda hit: chr(int(hit[1], 16)), text.decode("utf-8", "replace"))
        read = read.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for form in (_WHITE.sub(" ", read), read):
            plain = unescape(unquote(form))
            found += [_bare(form), _bare(plain), _bare(_TAGS_READ.sub("", plain))]
    return found


def _bare(text: str) -> bytes:
    """Letters and digits alone. Marks are put in their order by comparing each with all before it, which takes minutes
    for a text of nothing else: so pieces of few of them are read one after the other."""
    plain = text if text.isascii() else "".join(normalize("NFKC", piece) for piece in _PIECES.findall(text))
    return plain.lower().encode("utf-8", "replace").translate(None, _OTHERS)


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
