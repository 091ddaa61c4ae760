"""The guarded fetch: what it takes, and what it refuses before it connects."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket

import pytest
from scripted_server import CHUNKED, OK, Peer, Server, always, chunk, sized
from upstream_world import Authority, World

from llm_router.adapters.upstream.fetch import GuardedFetcher
from llm_router.adapters.upstream.url import parse_url
from llm_router.domain.errors import InvalidRequest

LEAN_ONLY = True
words = str.split
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def fetcher(server: Server, **options) -> GuardedFetcher:
    return GuardedFetcher(allow_hosts=(f"127.0.0.1:{server.port}",), **options)


async def refusal(awaitable) -> str:
    with pytest.raises(InvalidRequest) as caught:
        await awaitable
    assert caught.value.param == "messages"
    assert caught.value.status == 400
    return caught.value.message


class Resolver:
    """Answers with a list of answers, the last one for ever; remembers what was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


# What is taken.

MEDIA = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0" + bytes(40),
    "image/gif": b"GIF89a" + bytes(40),
    "image/webp": b"RIFF\0\0\0\0WEBPVP8 " + bytes(40),
    "audio/wav": b"RIFF\0\0\0\0WAVEfmt " + bytes(40),
    "audio/mpeg": b"ID3\x03" + bytes(40),
    "video/mp4": b"\0\0\0\x18ftypisom" + bytes(40),
    "application/pdf": b"%PDF-1.7\n" + bytes(40),
}


@pytest.mark.parametrize("media_type", MEDIA)
@pytest.mark.parametrize("declared", [b"application/octet-stream", b"text/plain", b"image/svg+xml"])
async def test_magic_bytes_tell_the_type(world: World, media_type: str, declared: bytes) -> None:
    server = await world.server(always(sized(MEDIA[media_type], b"content-type: " + declared)))
    fetched = await fetcher(server).fetch(server.url("/a.bin"))
    assert fetched.media_type == media_type
    assert base64.b64decode(fetched.data) == MEDIA[media_type]


@pytest.mark.parametrize("text", ["plain words", "BM is how a bitmap begins", "größer\n\ttabs"])
async def test_plain_text_is_taken_on_its_word(world: World, text: str) -> None:
    server = await world.server(always(sized(text.encode(), b"content-type: text/plain; charset=utf-8")))
    fetched = await fetcher(server).fetch(server.url())
    assert (fetched.media_type, base64.b64decode(fetched.data)) == ("text/plain", text.encode())


@pytest.mark.parametrize(
    ("declared", "body"),
    [
        (b"text/html", b"<html><body>hello</body></html>"),
        (b"image/png", b"<html><body>hello</body></html>"),
        (b"image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        (b"text/plain", b"\xef\xbb\xbf <!DOCTYPE html><html>"),
        (b"text/plain", b"<?xml version='1.0'?><svg/>"),
        (b"text/plain", b"binary \x00\x01"),
        (b"text/plain", b"\xff\xfe not UTF-8"),
        (b"text/html", b"just words"),
        (b"application/json", b"{}"),
        (b"application/zip", b"PK\x03\x04" + bytes(40)),
        (b"image/png", b"no image at all"),
    ],
)
async def test_other_types_are_refused(world: World, declared: bytes, body: bytes) -> None:
    server = await world.server(always(sized(body, b"content-type: " + declared)))
    assert "no supported type" in await refusal(fetcher(server).fetch(server.url()))


async def test_empty_file(world: World) -> None:
    server = await world.server(always(sized(b"")))
    assert "is empty" in await refusal(fetcher(server).fetch(server.url()))


async def test_the_request_says_little(world: World) -> None:
    heads = []

    async def script(peer: Peer) -> None:
        heads.append((await peer.request())[0].lower().decode())
        await peer.send(sized(PNG))
        await peer.gone()

    server = await world.server(script)
    await fetcher(server).fetch(server.url("/a%20b.png?x=1&y"))
    lines = heads[0].split("\r\n")
    assert lines[0] == "get /a%20b.png?x=1&y http/1.1"
    assert {line.partition(":")[0] for line in lines[1:-2]} == {
        "host",
        "accept",
        "accept-encoding",
        "user-agent",
    }


# Cases 53 to 56: addresses, names, redirects, URLs.

INNER = words("""
127.1 2130706433 0x7f000001 0177.0.0.1 0x7f.1 0 127.0.0.1 0.0.0.0 localhost localhost. [::] [::1]
[::ffff:127.0.0.1] [::ffff:169.254.169.254] [64:ff9b::7f00:1] [64:ff9b::169.254.169.254] [2002:7f00:1::]
100.64.0.1 169.254.169.254 [fd00:ec2::254] 100.100.100.200 168.63.129.16 192.0.0.192 10.0.0.1 192.168.1.1
[::127.0.0.1] 224.0.0.1
""")


@pytest.mark.parametrize("host", INNER)
async def test_inner_addresses_are_refused_before_connect(
    world: World, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await world.server(always(sized(PNG)))
    monkeypatch.setattr("llm_router.adapters.upstream.fetch.dial", _no_connection)
    message = await refusal(GuardedFetcher().fetch(f"http://{host}:{server.port}/"))
    assert "not a public address" in message or "was not found" in message
    assert server.accepted == 0


def _no_connection(*_: object, **__: object) -> None:
    raise AssertionError("it tried to connect")


async def test_digits_of_other_scripts_are_refused(world: World) -> None:
    server = await world.server(always(sized(PNG)))
    await refusal(GuardedFetcher().fetch(f"http://①②⑦.⓪.⓪.①:{server.port}/"))
    assert server.accepted == 0


async def test_a_name_that_changes_its_answer_gains_nothing(world: World) -> None:
    """The first answer is public and nobody's; the second, loopback, must never be asked for."""
    server = await world.server(always(sized(PNG)))
    resolver = Resolver(["192.0.2.1"], ["127.0.0.1"])
    fetch = GuardedFetcher(resolve=resolver, total_s=0.1)
    assert "not a public address" in await refusal(fetch.fetch(f"http://rebind.test:{server.port}/"))
    assert len(resolver.asked) == 1


async def test_only_the_checked_address_is_connected_to(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = []

    async def connect(loop, origin, address, limits, context, sessions):
        connected.append((origin.host, address))
        raise ConnectionRefusedError

    monkeypatch.setattr("llm_router.adapters.upstream.dial._connect", connect)
    resolver = Resolver(["8.8.8.8", "2606:4700::1111"], ["127.0.0.1"])
    message = await refusal(GuardedFetcher(resolve=resolver).fetch("http://rebind.test/"))
    assert "the connection was refused" in message
    assert connected == [("rebind.test", "8.8.8.8"), ("rebind.test", "2606:4700::1111")]
    assert resolver.asked == [("rebind.test", 80)]


async def test_one_inner_address_among_public_ones_is_refused(world: World) -> None:
    fetch = GuardedFetcher(resolve=Resolver(["8.8.8.8", "10.1.2.3"]))
    message = await refusal(fetch.fetch("http://mixed.test/"))
    assert "not a public address" in message
    assert "10.1.2.3" not in message


async def test_the_name_is_kept_for_host_and_tls(world: World, authority: Authority) -> None:
    names, hosts = [], []
    context = authority.server_context("media.test")
    context.sni_callback = lambda _, name, __: names.append(name)

    async def script(peer: Peer) -> None:
        hosts.append((await peer.request())[0].lower())
        await peer.send(sized(PNG))

    server = await world.server(script, context)
    fetch = GuardedFetcher(
        allow_hosts=(f"Media.test:{server.port}",),
        resolve=Resolver(["127.0.0.1"]),
        ssl_context=authority.client_context(),
    )
    await fetch.fetch(f"https://MEDIA.test:{server.port}/")
    assert names == ["media.test"]
    assert b"host: media.test:%d\r\n" % server.port in hosts[0]


async def test_wrong_certificate_is_refused(world: World, authority: Authority) -> None:
    server = await world.server(always(sized(PNG)), authority.server_context("other.test"))
    message = await refusal(fetcher(server, ssl_context=authority.client_context()).fetch(server.url()))
    assert "certificate was refused" in message


@pytest.mark.parametrize(
    "location", [b"http://127.0.0.1:1/", b"file:///etc/passwd", b"/next", b"https://8.8.8.8:22/"]
)
@pytest.mark.parametrize("status", [b"301 M", b"302 F", b"307 T", b"308 P"])
async def test_redirects_are_not_followed(world: World, location: bytes, status: bytes) -> None:
    server = await world.server(always(sized(PNG, b"location: " + location, status=status)))
    message = await refusal(fetcher(server).fetch(server.url()))
    assert "redirects" in message
    assert server.accepted == 1


ODD = [
    "file:///etc/passwd",
    "gopher://h/",
    "ftp://h/",
    "data:text/html,<p>",
    "jar:http://h!/",
    "unix:/run/docker.sock",
    "//h/",
    "h/a.png",
    "",
    "http:///a",
    "http://",
    "http://h:/",
    "http://h:0/",
    "http://h:65536/",
    "http://h:8o/",
    "http://h/\r\nx: y",
    "http://h\r\n/",
    "http://h/ HTTP/1.1\r\nx: y",
    "http://user:pass@h/",
    "http://user@h/",
    "http://@h/",
    "http://public.test\\@127.0.0.1/",
    "http:\\\\h\\",
    "http://public.test#@127.0.0.1/",
    "http://public.test/#frag",
    "http://ho\tst/",
    "http://ho st/",
    " http://h/",
    "http://h/\0",
    "http://h%00.test/",
    "http://127.0.0.1%2f@h/",
    "http://[::1/",
    "http://::1/",
    "http://[fe80::1%25eth0]/",
    "http://[1.2.3.4]/",
    "http://a..b/",
    "http://.a/",
    "http://./",
    "http://ⓔxample.test/",
    "http://example.test/ü",
    "http://" + "a" * 300 + "/",
    "http://[" + "1:" * 30 + "]/",
]


@pytest.mark.parametrize("url", ODD)
async def test_odd_urls_are_refused(world: World, url: str) -> None:
    resolver = Resolver(["8.8.8.8"])
    message = await refusal(GuardedFetcher(resolve=resolver).fetch(url))
    assert "A media URL cannot be used" in message
    assert "pass@" not in message
    assert resolver.asked == []


async def test_proxies_of_the_environment_are_ignored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = await world.server(always(sized(PNG)))
    assert (await fetcher(server).fetch(server.url())).media_type == "image/png"


async def test_allowed_hosts_are_exact(world: World) -> None:
    server = await world.server(always(sized(PNG)))
    other = await world.server(always(sized(PNG)))
    assert (await fetcher(server).fetch(server.url())).media_type == "image/png"
    assert "not a public address" in await refusal(fetcher(server).fetch(other.url()))
    assert "not a public address" in await refusal(fetcher(server).fetch(f"http://127.0.0.2:{server.port}/"))
    assert other.accepted == 0


# Bounds.


@pytest.mark.parametrize("extra", [(), (b"content-encoding: gzip",)])
async def test_too_large(world: World, extra: tuple[bytes, ...]) -> None:
    body = PNG + bytes(10_000)
    server = await world.server(always(sized(gzip.compress(body) if extra else body, *extra)))
    message = await refusal(fetcher(server, bytes_max=10_000).fetch(server.url()))
    assert message == ("The media at 127.0.0.1 is larger than 10000 bytes. Send a smaller file.")
    assert (await fetcher(server, bytes_max=len(body)).fetch(server.url())).media_type == "image/png"


async def test_a_body_without_end(world: World) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(PNG))
        while True:
            await peer.send(chunk(bytes(60_000)))

    server = await world.server(script)
    assert "larger than" in await refusal(fetcher(server, bytes_max=1_000_000).fetch(server.url()))


@pytest.mark.parametrize("said", [b"", OK, CHUNKED + chunk(PNG)])
async def test_total_deadline(world: World, said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        await peer.gone()

    server = await world.server(script)
    message = await refusal(fetcher(server, total_s=0.05).fetch(server.url()))
    assert "within 0.05 s" in message or "0.05 s" in message


async def test_a_resolver_that_hangs(world: World) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    fetch = GuardedFetcher(resolve=resolve, total_s=0.05)
    assert "within 0.05 s" in await refusal(fetch.fetch("http://slow.test/"))


async def test_an_unknown_name(world: World) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    message = await refusal(GuardedFetcher(resolve=resolve).fetch("http://nowhere.test/a.png"))
    assert message == "The host nowhere.test of a media URL was not found. Check its spelling."


@pytest.mark.parametrize("status", [b"404 N", b"403 F", b"500 E", b"204 N", b"206 P"])
async def test_other_statuses(world: World, status: bytes) -> None:
    raw = b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n"
    server = await world.server(always(raw))
    message = await refusal(fetcher(server).fetch(server.url()))
    assert f"status {status[:3].decode()}" in message


@pytest.mark.parametrize("raw", [b"garbage", OK + b"content-length: 99\r\n\r\n" + PNG, b""])
async def test_broken_replies(world: World, raw: bytes) -> None:
    server = await world.server(always(raw, close=True))
    assert "could not be fetched" in await refusal(fetcher(server).fetch(server.url()))


async def test_few_at_a_time(world: World) -> None:
    now = most = 0

    async def script(peer: Peer) -> None:
        nonlocal now, most
        await peer.request()
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        await peer.send(sized(PNG))

    server = await world.server(script)
    fetch = fetcher(server, fetches_max=2)
    await asyncio.gather(*(fetch.fetch(server.url()) for _ in range(8)))
    assert most == 2


async def test_connections_are_not_kept(world: World) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(PNG))
        await peer.gone()
        gone.set()

    server = await world.server(script)
    await fetcher(server).fetch(server.url())
    await gone.wait()


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://media.test/x", True),
        ("https://MEDIA.test/x", True),
        ("http://media.test:8080/x", False),
        ("http://other.test:8080/x", True),
        ("http://other.test/x", False),
        ("http://a.media.test/x", False),
        ("http://[::1]:99/x", True),
    ],
)
def test_a_host_is_allowed_at_its_usual_ports_or_at_the_one_named(url: str, allowed: bool) -> None:
    fetcher = GuardedFetcher(allow_hosts=("Media.test", "other.test:8080", "[::1]:99"))
    assert fetcher._allowed(parse_url(url).origin) is allowed
