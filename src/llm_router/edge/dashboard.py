"""The dashboard: static files of the package, served to browsers. Everything else it does is the API's."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from llm_router.domain.errors import NotFound
from llm_router.edge.http import Request, Send
from llm_router.edge.packing import takes_gzip

if TYPE_CHECKING:
    from llm_router.edge.gateway import Gateway

STATIC = Path(__file__).resolve().parent.parent / "dashboard" / "static"

ASSETS = "/assets/"

KINDS: Mapping[str, bytes] = {
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".svg": b"image/svg+xml",
}

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No script but the package's own files, no markup made from text (https://www.w3.org/TR/trusted-types/), nothing
from or to another host, and no page around this one."""

HEADERS = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)

FOREVER = b"public, max-age=31536000, immutable"
ASK_AGAIN = b"no-cache"

_NO_PAGES = ("/v1/", "/v1beta/", "/api/", "/assets/", "/webhooks/", "/.well-known/")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is sent. ``packed``: by gzip."""

    kind: bytes
    etag: bytes
    plain: bytes
    packed: bytes


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """All files under names that change whenever any of them does, so browsers may keep them for good.

    Attributes:
        version: a digest of all of them. page: the one document.
    """

    version: str
    page: File
    named: dict[str, File]


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program for what the API has there."""
    return (
        request.method in ("GET", "HEAD")
        and "text/html" in request.headers.get("accept", "")
        and "authorization" not in request.headers
        and not request.path.startswith(_NO_PAGES)
        and request.path not in ("/v1", "/v1beta", "/api")
    )


async def page(request: Request, send: Send) -> None:
    """Send the document; which screen it shows is decided in the browser, by the path."""
    await _send(request, send, load_files().page, ASK_AGAIN)


async def asset(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /assets/VERSION/NAME: a file. Under an older version it is the present one, and not kept.

    Raises:
        NotFound: there is no such file.
    """
    version, _, name = parameters["name"].partition("/")
    files = load_files()
    file = files.named.get(name)
    if gateway.api is None or file is None:
        raise NotFound(f"There is no file '{name[:100]}'.")
    await _send(request, send, file, FOREVER if version == files.version else b"no-store")


async def _send(request: Request, send: Send, file: File, caching: bytes) -> None:
    headers = [
        *HEADERS,
        (b"cache-control", caching),
        (b"etag", file.etag),
        (b"vary", b"accept, accept-encoding"),
    ]
    if request.headers.get("if-none-match", "").encode("latin-1") == file.etag:
        await send({"type": "http.response.start", "status": 304, "headers": headers})
        await send({"type": "http.response.body"})
        return
    packed = takes_gzip(request.headers.get("accept-encoding"))
    data = file.packed if packed else file.plain
    headers += [(b"content-type", file.kind), (b"content-length", b"%d" % len(data))]
    if packed:
        headers.append((b"content-encoding", b"gzip"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


@lru_cache(maxsize=1)
def load_files() -> Files:
    """Read and pack the files, when the first browser comes."""
    read = {
        path.relative_to(STATIC).as_posix(): path.read_bytes()
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in KINDS
    }
    version = hashlib.sha256(b"\0".join(n.encode() + b"\0" + data for n, data in read.items())).hexdigest()[
        :16
    ]
    document = read.pop("index.html").decode()
    root = ASSETS + version
    modules = [name for name in read if name.endswith(".js") and name not in ("app.js", "theme.js")]
    links = "\n".join(f'<link rel="modulepreload" href="{root}/{name}">' for name in modules)
    return Files(
        version=version,
        page=_file(".html", document.replace("{preloads}", links).replace("{assets}", root).encode()),
        named={name: _file(Path(name).suffix, data) for name, data in read.items()},
    )


def _file(suffix: str, data: bytes) -> File:
    etag = b'"%s"' % hashlib.sha256(data).hexdigest()[:32].encode()
    return File(kind=KINDS[suffix], etag=etag, plain=data, packed=gzip.compress(data, 9, mtime=0))
