"""What a provider's error means, whatever its status and wording; above all: whose fault it is.

Statuses mislead: a wrong key is 400 at some providers and 403 at others, an unknown model 400, a
prompt that is too long 400, 413, 429 or 500. So it is looked, in this order, at

    what clears the deployment    a prompt that is too long, a refusal by policy: in words too, anywhere
    the provider's own names      code and type (``insufficient_quota``), never the words of a message
    the status                    401, 402, 403, 429 and 5xx say enough
    whole sentences               for what is left, as providers tell a wrong key with status 400; never where
                                  a param or an exact code says which part of the request is wrong

A request is quoted in many an error, so that nothing that a client can make a provider say may
be held against a deployment, a key or a limit: see wire/sentences.py and wire/quoted.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.domain import late
from llm_router.domain.errors import Grounds, UpstreamKind
from llm_router.wire import sentences
from llm_router.wire.sentences import Sentences, first

_K = UpstreamKind

_BY_STATUS = {
    401: _K.AUTHENTICATION,
    402: _K.PAYMENT,
    403: _K.PERMISSION,
    405: _K.ADDRESS,
    408: _K.TIMEOUT,
    413: _K.PAYLOAD,
    429: _K.RATE_LIMIT,
    451: _K.CONTENT_POLICY,
    498: _K.OVERLOADED,
    501: _K.INVALID_REQUEST,
    502: _K.UNAVAILABLE,
    503: _K.OVERLOADED,
    504: _K.TIMEOUT,
    521: _K.UNAVAILABLE,
    522: _K.TIMEOUT,
    523: _K.UNAVAILABLE,
    524: _K.TIMEOUT,
    529: _K.OVERLOADED,
}
_NOWHERE = (404, 410)
_PASSING = (409, 425)
"""Statuses below 500 that say nothing against the request: something else was under way."""

_NAMES = (
    (
        _K.AUTHENTICATION,
        r"invalidapikey|apikey(invalid|expired|missing)|incorrectapikey\w*|authentication(error|failed)"
        r"|unrecognizedclient\w*|expiredtoken\w*|unauthenticated|unauthori[sz]ed\w*|invalidauthentication\w*"
        r"|invalidsubscriptionkey",
    ),
    (
        _K.PAYMENT,
        r"insufficient(quota|balance|credits?|funds?)\w*|billing\w+|paymentrequired\w*|arrearage\w*",
    ),
    (
        _K.NOT_FOUND,
        r"\w*model\w*(notfound|notexists?|notavailable|notsupported|decommissioned|deprecated)\w*"
        r"|deploymentnotfound|invalidmodel(error|id|name)?|unknownmodel|nosuchmodel|unknownurl"
        r"|unknownoperationexception",
    ),
    (_K.PAYLOAD, r"(request|payload|entity)toolarge\w*"),
    (
        _K.RATE_LIMIT,
        r"\w*ratelimit\w*|\w*throttl\w*|toomanyrequests\w*|resourceexhausted|\w*quotaexceeded\w*"
        r"|exceededcurrentquota\w*|\w*tokensperminute\w*",
    ),
    (
        _K.OVERLOADED,
        r"\w*overloaded\w*|serveris?busy|capacityexceeded|serviceunavailable\w*|unavailable|modelnotready\w*",
    ),
    (_K.TIMEOUT, r"timeouterror|\w+timeout|deadlineexceeded|timeout"),
    (
        _K.SERVER,
        r"(internal)?servererror|internal(error|failure|server\w*)?|apierror|upstreamerror|badgateway",
    ),
)
"""Codes and types without case and separators, and what they mean; first match wins."""

_OF_NAMES = tuple((kind, late.compile(pattern)) for kind, pattern in _NAMES)
_RATHER = {_K.AUTHENTICATION, _K.PAYMENT, _K.NOT_FOUND, _K.PAYLOAD, _K.RATE_LIMIT, _K.OVERLOADED}
"""What a status such as 400 may really be, by a name."""

_WRONG = late.compile(
    r"(invalid|bad)(request|argument|parameters?|params?)(error|exception)?|\w*validation\w*|unprocessable\w*|invalid"
)
_WRONG_PART = late.compile(
    r"(unknown|unsupported|unrecognized|unexpected|invalid|missing|empty|extra|duplicate|disallowed|wrong)\w+"
    r"|\w+(notsupported|toolong|toolarge|toosmall|abovemax\w*|belowmin\w*|outofrange)"
    r"|tooluse\w+|jsonvalidat\w+|contextlength\w*"
)
_DENIED = late.compile(r"permission|access|forbidden|denied")
_WORD_CHARS_MAX = 80
_NEVER_FITS = late.compile(r"limit:? (\d+),? .{0,40}requested:? (\d+)")


class Judged(msgspec.Struct, frozen=True):
    """What an error is, and the words that it rests on where nothing else says it.

    ``suspected``: what it may be though the request is called wrong; others are asked, nobody is blamed.
    """

    kind: UpstreamKind
    grounds: Grounds | None = None
    suspected: UpstreamKind | None = None


class _Said(msgspec.Struct, frozen=True):
    """What an error tells: its status (0: none), names and text in lower case, and the member it is about."""

    status: int
    names: tuple[str, ...]
    text: str
    words: str
    param: str | None

    def named(self) -> UpstreamKind | None:
        """What the provider's names say, if anything."""
        for kind, pattern in _OF_NAMES:
            for name in self.names:
                if pattern.fullmatch(name):
                    return kind
        return None

    def wrong(self) -> bool:
        """Whether the names call the request invalid."""
        return any(_WRONG.fullmatch(name) for name in self.names)

    def wrong_part(self) -> bool:
        """Whether the error says which part of the request is wrong."""
        if self.param not in (None, "", "model"):
            return True
        return any(_WRONG_PART.fullmatch(name) and not _WRONG.fullmatch(name) for name in self.names)


def judge(status: int, message: str, code: str | None, type_: str | None, param: str | None = None) -> Judged:
    """Say what kind of failure a provider reports, and on what grounds.

    ``status`` is the HTTP status; for an error inside a 200 reply pass 200, then a numeric ``code``
    of 400..599 is taken as the status.
    """
    if not 400 <= status <= 599:
        status = _numeric(code) or _numeric(type_) or 0
    said = _Said(
        status,
        tuple(name for name in (_name(code), _name(type_)) if name),
        message.strip().lower(),
        " ".join(part for part in (code, type_, message) if part).lower(),
        param,
    )
    cleared = _cleared(said)
    if cleared is not None:
        return Judged(cleared)
    if status == 0:
        return _unstated(said)
    if status in _NOWHERE:
        return _nowhere(said)
    if status == 429:
        return _too_many(said)
    if status == 403:
        return _forbidden(said)
    if status >= 500:
        return _broken(said)
    if status in _BY_STATUS:
        return Judged(_BY_STATUS[status])
    return _refused(said)


def member_at_fault(fields: Mapping[str, Any]) -> str | None:
    """The member of the request that an error is about: ``param``, the ``loc`` of a web framework's
    validation, or Google's BadRequest."""
    param = fields.get("param")
    if isinstance(param, str) and param:
        return param
    for name in ("detail", "details", "errors"):
        several = fields.get(name)
        for each in several if isinstance(several, list) else ():
            if not isinstance(each, dict):
                continue
            where = each.get("loc")
            if isinstance(where, list) and where:
                return ".".join(map(str, where))
            broken = each.get("fieldViolations")
            first_ = broken[0] if isinstance(broken, list) and broken else None
            if isinstance(first_, dict) and isinstance(first_.get("field"), str):
                return str(first_["field"])
    return None


def classify(
    status: int, message: str, code: str | None, type_: str | None, param: str | None = None
) -> UpstreamKind:
    """The kind alone, see :func:`judge`."""
    return judge(status, message, code, type_, param).kind


def _cleared(said: _Said) -> UpstreamKind | None:
    """What is neither the deployment's fault nor the operator's, whatever else is said."""
    if sentences.CONTEXT.search(said.words):
        return _K.CONTEXT_LENGTH
    if said.status != 429 and sentences.TOO_MANY_TOKENS.search(said.words):
        return _K.CONTEXT_LENGTH
    if said.status in (413, 429) and _never_fits(said.text):
        return _K.PAYLOAD
    if said.status in (429, 401, 402) or said.status >= 500 or said.status in _NOWHERE:
        return None
    if said.named() in (None, _K.SERVER) and sentences.POLICY.search(said.words):
        return _K.CONTENT_POLICY
    return None


def _refused(said: _Said) -> Judged:
    """400, 409, 422 and the like: the request's fault, unless the provider says something else itself."""
    named = said.named()
    if named in _RATHER and not (named is _K.NOT_FOUND and said.param not in (None, "", "model")):
        return Judged(named)
    if said.wrong_part():
        return Judged(_K.INVALID_REQUEST)
    usual = _K.SERVER if said.status in _PASSING else _K.INVALID_REQUEST
    if said.wrong():
        found = _by(said, sentences.EVEN_SO, usual)
        other = first(said.text, sentences.AGAINST) if found.grounds is None else None
        return found if other is None else Judged(usual, suspected=other[0])
    if sentences.PAYLOAD.search(said.text):
        return Judged(_K.PAYLOAD)
    return _by(said, sentences.AGAINST, usual)


def _nowhere(said: _Said) -> Judged:
    """404: the model, the address of the provider, or something else that the request names."""
    if said.param not in (None, "", "model"):
        return Judged(_K.OBJECT)
    if said.named() is _K.NOT_FOUND or said.param == "model" or not said.text:
        return Judged(_K.NOT_FOUND)
    return _by(said, sentences.AGAINST_ADDRESS, _K.OBJECT)


def _too_many(said: _Said) -> Judged:
    named = said.named()
    if named in (_K.PAYMENT, _K.OVERLOADED):
        return Judged(named)
    found = sentences.PAYMENT.search(said.text)
    if found is not None:
        return Judged(_K.PAYMENT, Grounds(found[0], _K.RATE_LIMIT))
    found = sentences.OVERLOADED.search(said.text)
    if found is not None and named is not _K.RATE_LIMIT and not sentences.RATE.search(said.text):
        return Judged(_K.OVERLOADED, Grounds(found[0], _K.RATE_LIMIT))
    return Judged(_K.RATE_LIMIT)


def _forbidden(said: _Said) -> Judged:
    """403: the operator's key or its access, at least perhaps: so others are always asked. Nobody is blamed where the
    provider calls the request wrong, as those do that look at what is asked, or says nothing but what the client said."""
    named = said.named()
    if named in (_K.AUTHENTICATION, _K.PAYMENT):
        return Judged(named)
    if named is _K.NOT_FOUND and said.param in (None, "", "model"):
        return Judged(_K.PERMISSION)  # OpenAI says so of models that a project may not use
    denied = any(_DENIED.search(name) for name in said.names)
    usual = _K.INVALID_REQUEST if not denied and (said.wrong() or said.wrong_part()) else _K.PERMISSION
    by_words = _by(said, sentences.AGAINST_KEY + sentences.AGAINST_MODEL, usual)
    if by_words.grounds is not None:
        return by_words
    found = sentences.PAYMENT.search(said.text)
    if found is not None:
        return Judged(_K.PAYMENT, Grounds(found[0], usual))
    if sentences.OBJECT.search(said.text):
        return Judged(_K.OBJECT, suspected=_K.PERMISSION)
    if usual is _K.PERMISSION and said.text and not said.names:
        return Judged(usual, Grounds(said.text, usual))
    return Judged(usual, suspected=None if usual is _K.PERMISSION else _K.PERMISSION)


def _broken(said: _Said) -> Judged:
    usual = _BY_STATUS.get(said.status, _K.SERVER)
    named = said.named()
    if named in (_K.PAYMENT, _K.OVERLOADED):
        return Judged(named)
    if usual is not _K.OVERLOADED:
        found = sentences.OVERLOADED.search(said.text)
        if found is not None:
            return Judged(_K.OVERLOADED, Grounds(found[0], usual))
    if usual is _K.SERVER:
        if named is _K.TIMEOUT:
            return Judged(named)
        found = sentences.TIMEOUT.search(said.text)
        if found is not None:
            return Judged(_K.TIMEOUT, Grounds(found[0], usual))
    return Judged(usual)


def _unstated(said: _Said) -> Judged:
    """An error that came without a status of its own (inside a stream)."""
    named = said.named()
    if named is not None and named is not _K.SERVER:
        return Judged(named)
    if said.wrong() or said.wrong_part():
        return _by(said, sentences.EVEN_SO, _K.INVALID_REQUEST)
    usual = _K.INVALID_REQUEST if named is None and sentences.INVALID.search(said.text) else _K.SERVER
    by_sentence = _by(said, sentences.AGAINST, usual)
    if by_sentence.grounds is not None or usual is _K.INVALID_REQUEST:
        return by_sentence
    for kind, pattern in (
        (_K.OVERLOADED, sentences.OVERLOADED),
        (_K.RATE_LIMIT, sentences.RATE),
        (_K.TIMEOUT, sentences.TIMEOUT),
    ):
        found = pattern.search(said.text)
        if found is not None:
            return Judged(kind, Grounds(found[0], usual))
    return Judged(usual)


def _by(said: _Said, table: Sentences, otherwise: UpstreamKind) -> Judged:
    """What a provider's own sentence says; else what it would be without."""
    found = first(said.text, table)
    return Judged(otherwise) if found is None else Judged(found[0], Grounds(found[1], otherwise))


def _name(text: str | None) -> str:
    """A code or type without case and separators; of a sentence or a number nothing."""
    if text is None or len(text) > _WORD_CHARS_MAX or any(c.isspace() for c in text):
        return ""
    return "" if text.isdigit() else re.sub(r"[^a-z0-9]", "", text.lower())


def _numeric(text: str | None) -> int | None:
    if text is None or len(text) != 3 or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if 400 <= int(text) <= 599 else None


def _never_fits(words: str) -> bool:
    """Whether one request asks for more than a whole rate window holds: no retry ever succeeds."""
    found = _NEVER_FITS.search(words)
    return found is not None and int(found[2][:18]) > int(found[1][:18])
