"""The cookie of a session, and which pages may use it.

https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
"""

from __future__ import annotations

from urllib.parse import quote

from llm_router.domain.errors import Forbidden
from llm_router.edge.http import Request
from llm_router.engine.sign_in import SESSION_MS

PLAIN_NAME = "llm_router_session"
SECURE_NAME = "__Host-llm_router_session"
"""Browsers take it over https alone, for this very host."""

CSRF_HEADER = "x-llm-router-csrf"
"""A page of another site cannot send it without asking first, and is refused then."""


def is_secure(origin: str | None) -> bool:
    """Whether browsers reach the gateway by https."""
    return origin is not None and origin.startswith("https://")


def cookie_of(request: Request, origin: str | None) -> str | None:
    """The token of a session that a request brings; None if it brings none."""
    return _cookie(request, SECURE_NAME if is_secure(origin) else PLAIN_NAME)


def _cookie(request: Request, name: str) -> str | None:
    for part in request.headers.get("cookie", "").replace(",", ";").split(";"):
        found, _, value = part.strip().partition("=")
        if found == name and value:
            return value
    return None


def set_cookie(token: str, origin: str | None) -> str:
    """The header that begins a session. Pages cannot read it, and other sites' requests do not bring it, but for links."""
    name, secure = (SECURE_NAME, "; Secure") if is_secure(origin) else (PLAIN_NAME, "")
    return f"{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={SESSION_MS // 1000}{secure}"


def clear_cookie(origin: str | None) -> str:
    """The header that ends it."""
    name, secure = (SECURE_NAME, "; Secure") if is_secure(origin) else (PLAIN_NAME, "")
    return f"{name}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0{secure}"


def origins_of(request: Request, origin: str | None) -> tuple[str, ...]:
    """The origins whose pages are the gateway's own."""
    if origin is not None:
        return (origin,)
    host = request.headers.get("host", "")
    return (f"http://{host}", f"https://{host}")


def check_origin(request: Request, own: str | None) -> None:
    """Refuse a change that a page of another site has a browser ask for.

    Raises:
        Forbidden
    """
    if CSRF_HEADER not in request.headers:
        raise Forbidden(f"Send the header {CSRF_HEADER}: 1 with what changes something.", code="csrf")
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins_of(request, own):
        raise Forbidden("This was asked for by a page of another site.", code="csrf")


def own_path(text: str | None) -> str:
    """A path of the gateway's own to go back to; "/" for anything else, so that no link leads elsewhere."""
    if text is None or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return "/"
    return text if "\\" not in text and text.isascii() else "/"


def state_cookie(state: str, origin: str | None) -> str:
    """The header that binds a sign-in at an issuer to this browser."""
    return _state(state, 600, origin)


def clear_state(origin: str | None) -> str:
    return _state("", 0, origin)


def state_of(request: Request, origin: str | None) -> str | None:
    """The state of the sign-in that this browser began."""
    return _cookie(request, f"{SECURE_NAME if is_secure(origin) else PLAIN_NAME}_state")


def _state(state: str, age_s: int, origin: str | None) -> str:
    name, secure = (SECURE_NAME, "; Secure") if is_secure(origin) else (PLAIN_NAME, "")
    return f"{name}_state={state}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age_s}{secure}"


def trouble_cookie(message: str, origin: str | None) -> str:
    """The header by which the page for signing in learns what went wrong elsewhere: it reads it once and deletes it. No
    link of somebody else can make that page say anything."""
    secure = "; Secure" if is_secure(origin) else ""
    return f"llm_router_trouble={quote(message[:500])}; Path=/sign-in; SameSite=Lax; Max-Age=60{secure}"
