"""What is taken out of texts before they are kept: credentials always, the rest as an account wants it.

Every expression here is bounded: none of them looks at more than some hundred characters from where it begins, so that
no text takes longer than in proportion to its length. What could be right by its form alone is proven where it can be:
cards by their check digit (ISO/IEC 7812-1), bank accounts by theirs (ISO 13616), addresses by parsing them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import ip_address

from llm_router.domain import late
from llm_router.domain.bodies import Redactable
from llm_router.privacy.linear import Patterns

CREDENTIAL = "credential"
PATTERN = "pattern"

_LETTERS = "[A-Za-z0-9_\\-]"
_CREDENTIALS = late.compile(
    "|".join(
        (
            f"(?<![A-Za-z0-9])sk-{_LETTERS}{{16,}}",  # this gateway's, OpenAI's, Anthropic's, OpenRouter's and many others'
            "(?<![A-Za-z0-9])[srp]k_(?:live|test)_[A-Za-z0-9]{10,}|(?<![A-Za-z0-9])whsec_[A-Za-z0-9+/=]{10,}",
            f"(?<![A-Za-z0-9])AIza{_LETTERS}{{30,}}|(?<![A-Za-z0-9])ya29\\.{_LETTERS}{{20,}}",
            "(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
            f"(?<![A-Za-z0-9])(?:gsk_|xai-|hf_|r8_|pplx-|nvapi-|fw_|csk-|tgp_v1_|glpat-|github_pat_){_LETTERS}{{16,}}",
            "(?<![A-Za-z0-9])gh[opsur]_[A-Za-z0-9]{20,}|(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9\\-]{10,}",
            f"(?<![A-Za-z0-9])eyJ{_LETTERS}{{8,}}\\.{_LETTERS}{{8,}}\\.{_LETTERS}{{0,8000}}",
            "-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^\\-]{0,20000}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
        )
    )
)
_BEARER = late.compile(
    r"(?i:(?<![a-z0-9])(?:bearer|x-api-key:|x-goog-api-key:|api-key:))[ \t]{1,4}([A-Za-z0-9._~+/=\-]{12,})"
)
_IN_URL = late.compile(r"://[^/\s:@?#]{0,100}:([^/\s@]{1,200})@")
_CREDENTIAL_NAMES = frozenset(
    {
        "api_key", "apikey", "api-key", "x-api-key", "x-goog-api-key", "authorization", "proxy-authorization", "password",
        "passwd", "secret", "client_secret", "secret_key", "secret_access_key", "access_token", "refresh_token",
        "id_token", "private_key", "authorization_token", "bearer_token",
    }
)  # fmt: skip
"""Members whose texts are credentials, whatever they look like."""

_EMAIL = late.compile(r"[\w.%+\-]{1,64}@(?:[\w\-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_PHONE = late.compile(
    r"(?<![\w+])\+[0-9](?:[ ().\-/]{0,2}[0-9]){6,14}(?![0-9])"
    r"|(?<![\w.])\([0-9]{2,5}\)(?:[ .\-/]{0,2}[0-9]){5,10}(?![0-9])"
    r"|(?<![\w.\-])[0-9]{3}[\-. ][0-9]{3}[\-. ][0-9]{4}(?![\w\-])"
    r"|(?<![\w.\-])0[0-9]{1,4}[ /](?:[ \-/]?[0-9]){5,10}(?![\w])"
)
_DIGITS = late.compile(r"(?<![0-9])[0-9](?:[ \-]?[0-9]){12,40}(?![0-9])")
_IBAN = late.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})[0-9]{2}")
_IPV4 = late.compile(r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9])")
_IPV6 = late.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:(?:\.[0-9]{1,3}){3})?(?![\w:])"
)

_CARD_DIGITS = range(19, 12, -1)
_IBAN_CHARS = {
    country: int(size)
    for size, countries in (
        entry.split(":")
        for entry in [
            "15:NO",
            "16:BE",
            "18:DK,FI,FO,GL,NL",
            "19:MK,SI",
            "20:AT,BA,EE,KZ,LT,LU,XK",
            "21:CH,HR,LI,LV",
            "22:BG,BH,CR,DE,GB,GE,IE,ME,RS,VA",
            "23:AE,GI,IL,IQ,TL",
            "24:AD,CZ,ES,MD,PK,RO,SA,SE,SK,TN,VG",
            "25:LY,PT,ST",
            "26:IS,TR",
            "27:FR,GR,IT,MC,MR,SM",
            "28:AL,AZ,BY,CY,DO,GT,HU,LB,PL,SV",
            "29:BR,EG,PS,QA,UA",
            "30:JO,KW,MU",
            "31:MT,SC",
            "32:LC",
        ]
    )
    for country in countries.split(",")
}
"""How long a bank account of each country is (the registry of ISO 13616)."""

Span = tuple[int, int]


class Redactor:
    """Takes out what an account wants taken out, and counts it by its kind.

    Args:
        literals: credentials that are known, whatever they look like.

    Raises:
        PatternError: a pattern cannot be run.
    """

    def __init__(
        self, kinds: Sequence[Redactable], patterns: Sequence[str] = (), literals: Iterable[str] = ()
    ) -> None:
        self._finders = [(kind, _FINDERS[kind]) for kind in _FINDERS if kind in kinds]
        self._patterns = _compiled(tuple(patterns)) if patterns else None
        known = sorted({each for each in literals if len(each) >= LITERAL_CHARS_MIN}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None
        self.counts: dict[str, int] = {}

    def text(self, text: str) -> str:
        """The text without what is to be taken out: a mark stands in its place.

        Raises:
            TooHard: the patterns took too many steps.
        """
        if self._known is not None:
            text = self._without(text, CREDENTIAL, [m.span() for m in self._known.finditer(text)])
        text = self._without(text, CREDENTIAL, _credentials(text))
        for kind, find in self._finders:
            text = self._without(text, kind, find(text))
        if self._patterns is not None:
            text = self._without(text, PATTERN, list(self._patterns.spans(text)))
        return text

    def member(self, name: str, text: str) -> str:
        """The text of a member of that name."""
        if text and name.lower() in _CREDENTIAL_NAMES:
            return self._without(text, CREDENTIAL, [(0, len(text))])
        return self.text(text)

    def _without(self, text: str, kind: str, spans: list[Span]) -> str:
        if not spans:
            return text
        self.counts[kind] = self.counts.get(kind, 0) + len(spans)
        parts: list[str] = []
        at = 0
        for start, end in spans:
            parts += (text[at:start], f"[redacted:{kind}]")
            at = end
        return "".join((*parts, text[at:]))


LITERAL_CHARS_MIN = 8
"""Shorter credentials than these are words that texts hold for other reasons."""


@lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> Patterns:
    return Patterns(patterns)


def holds_credential(text: str) -> bool:
    """Whether something in it has the form of a key."""
    return bool(_credentials(text))


def _credentials(text: str) -> list[Span]:
    found = [m.span() for m in _CREDENTIALS.finditer(text) if _is_random(m.group())]
    if "://" in text:
        found += (m.span(1) for m in _IN_URL.finditer(text))
    found += (m.span(1) for m in _BEARER.finditer(text))
    return _apart(found)


def _is_random(text: str) -> bool:
    """Whether it is more than words with hyphens between them."""
    return text.startswith("-") or any(char.isdigit() or char.isupper() for char in text[3:])


def _apart(spans: list[Span]) -> list[Span]:
    """In their order, without those that begin inside another."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if not found or start >= found[-1][1]:
            found.append((start, end))
        elif end > found[-1][1]:
            found[-1] = (found[-1][0], end)
    return found


def _emails(text: str) -> list[Span]:
    return [m.span() for m in _EMAIL.finditer(text)] if "@" in text else []


def _phones(text: str) -> list[Span]:
    return [m.span() for m in _PHONE.finditer(text)]


def _cards(text: str) -> list[Span]:
    found: list[Span] = []
    for match in _DIGITS.finditer(text):
        found += _card_numbers(match.group(), match.start())
    return found


def _ibans(text: str) -> list[Span]:
    found: list[Span] = []
    for match in _IBAN.finditer(text):
        begins, size = match.start(), _IBAN_CHARS.get(match[1].upper())
        if size is None or (found and begins < found[-1][1]):
            continue
        near = text[begins : begins + 2 * size]
        at = [n for n, char in enumerate(near) if char.isalnum()]
        gaps = all(near[n] in " -" for n in range(at[min(size, len(at)) - 1]) if not near[n].isalnum())
        if gaps and _proven(near, at, 0, size, _is_iban):
            found.append((begins, begins + at[size - 1] + 1))
    return found


def _card_numbers(text: str, offset: int) -> list[Span]:
    """The numbers of cards among groups of digits: each is some whole groups."""
    at = [n for n, char in enumerate(text) if char.isalnum()]
    found: list[Span] = []
    index = 0
    while index < len(at):
        begins = text[at[index]] in "23456" and (at[index] == 0 or not text[at[index] - 1].isalnum())
        size = next((s for s in _CARD_DIGITS if begins and _proven(text, at, index, s, _is_card)), 0)
        if size:
            found.append((offset + at[index], offset + at[index + size - 1] + 1))
        index += size or 1
    return found


def _proven(text: str, at: list[int], index: int, size: int, proves: Callable[[str], bool]) -> bool:
    last = index + size - 1
    if last >= len(at) or (at[last] + 1 < len(text) and text[at[last] + 1].isalnum()):
        return False
    return proves("".join(text[n] for n in at[index : last + 1]))


def _is_card(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + place % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


def _is_iban(text: str) -> bool:
    moved = (text[4:] + text[:4]).upper()
    return moved.isascii() and int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def _ips(text: str) -> list[Span]:
    found = [m.span() for m in _IPV4.finditer(text) if _is_ip(m.group())] if "." in text else []
    if ":" in text:
        found += (
            m.span() for m in _IPV6.finditer(text) if any(map(str.isalnum, m.group())) and _is_ip(m.group())
        )
    return _apart(found)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


_FINDERS: dict[str, Callable[[str], list[Span]]] = {
    "email": _emails, "iban": _ibans, "card": _cards, "ip": _ips, "phone": _phones,
}  # fmt: skip
"""In the order in which they look: what is proven goes before what is only of a form."""
