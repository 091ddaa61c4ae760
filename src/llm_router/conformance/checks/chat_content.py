"""OpenAI chat completions: what messages may hold."""

from __future__ import annotations

import base64
import struct
import zlib

from llm_router.conformance.api import OPENAI, Json, user
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.chat import chat, choice, message

_suite = Suite("chat", "content", f"{OPENAI}/chat/create#chat_create-messages")
check = _suite.check
EMOJI = "👩‍👩‍👧‍👦🏳️‍🌈"


def picture(side: int = 32) -> str:
    """A red square as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\x00\x00" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


def image(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def said(case: Case, words: str) -> str:
    """What the model says to the demand to repeat something."""
    reply = chat(case, user(f"Reply with exactly: {words}"))
    return str(message(case, reply).get("content") or "")


@check("parts", "content may be a list of text parts", "Most clients send it so.")
def parts(case: Case) -> None:
    chat(case, user([text("Say: "), text("fine.")]))


@check("system", "a system message is taken", "Nearly every program has one.")
def system(case: Case) -> None:
    chat(case, {"role": "system", "content": "You are brief."}, user("Say: fine."))


@check("system-parts", "a system message may be a list of parts", "Prompt caching needs it.")
def system_parts(case: Case) -> None:
    chat(case, {"role": "system", "content": [text("You are brief.")]}, user("Say: fine."))


@check("developer", "a developer message is taken", "OpenAI's clients send it for system.")
def developer(case: Case) -> None:
    chat(case, {"role": "developer", "content": "You are brief."}, user("Say: fine."))


@check("turns", "a conversation of several turns is taken", "Every chat has them.")
def turns(case: Case) -> None:
    earlier = {"role": "assistant", "content": "Hello, Ada."}
    reply = chat(case, user("My name is Ada."), earlier, user("Say my name."))
    message(case, reply)


@check("assistant-parts", "an assistant message may be a list of parts", "Clients send back what they built.")
def assistant_parts(case: Case) -> None:
    chat(case, user("Hi."), {"role": "assistant", "content": [text("Hello.")]}, user("Say: fine."))


@check("reply-sent-back", "a reply's message can be sent back as it came", "Clients do nothing else.")
def reply_sent_back(case: Case) -> None:
    first = chat(case)
    chat(case, user(), message(case, first), user("Say: fine."))


@check("two-users", "two user messages in a row are taken", "Group chats and tools make them.")
def two_users(case: Case) -> None:
    chat(case, user("Here is a word: fine."), user("Say it."))


@check("late-system", "a system message may stand behind others", "Frameworks add reminders.", should=True)
def late_system(case: Case) -> None:
    chat(case, user("Hello."), {"role": "system", "content": "Be brief."}, user("Say: fine."), feature="it")


@check("name", "a message may have a name", "Group chats send it.", should=True)
def name(case: Case) -> None:
    chat(case, {**user("Say: fine."), "name": "ada"}, feature="names")


@check("unicode", "text of many scripts comes back whole", "Users write in their own language.")
def unicode(case: Case) -> None:
    words = "Grüße, Привет, 你好, مرحبا"
    found = said(case, words)
    case.expect("\ufffd" not in found, "text without replacement characters", found)
    if "Gr" in found:
        case.expect("Grüße" in found, "Grüße whole", found)


@check("emoji", "emoji of several code points come back whole", "They are cut in two by careless code.")
def emoji(case: Case) -> None:
    found = said(case, EMOJI)
    case.expect("\ufffd" not in found, "text without replacement characters", found)
    found.encode("utf-8")


@check("escapes", "\\u escapes mean what they say", "Some languages' JSON writers escape everything.")
def escapes(case: Case) -> None:
    import json

    body = json.dumps(case.target.plain("chat", messages=[user("Say: fine 😀")]), ensure_ascii=True)
    reply = case.ask("chat", body.encode())
    case.expect(reply.ok, "success", f"{reply.status} {reply.text}")


@check(
    "lone-surrogate", "half of a surrogate pair is no failure of the server", "JavaScript cuts texts there."
)
def lone_surrogate(case: Case) -> None:
    import json

    body = json.dumps(case.target.plain("chat", messages=[user("Say: fine \ud83d")]), ensure_ascii=True)
    reply = case.ask("chat", body.encode())
    case.expect(reply.status < 500, "an answer or a refusal", f"{reply.status} {reply.text}")


@check("nul", "a NUL character is no failure of the server", "Texts out of PDF files hold it.")
def nul(case: Case) -> None:
    reply = case.ask("chat", case.target.plain("chat", messages=[user("Say: fine \0 please")]))
    case.expect(reply.status < 500, "an answer or a refusal", f"{reply.status} {reply.text}")


@check("empty-content", "an empty text is no failure of the server", "Users press return.")
def empty_content(case: Case) -> None:
    reply = case.ask("chat", case.target.plain("chat", messages=[user("")]))
    case.expect(reply.status < 500, "an answer or a refusal", f"{reply.status} {reply.text}")


@check("long", "a prompt of 2,000 words is taken", "Documents are longer.")
def long(case: Case) -> None:
    chat(case, user("word " * 2000 + "\nSay: fine."))


@check("many-turns", "a conversation of sixty messages is taken", "Agents have hundreds.")
def many_turns(case: Case) -> None:
    turn = (user("Hello."), {"role": "assistant", "content": "Hello."})
    chat(case, *(turn * 30), user("Say: fine."))


@check("image", "a picture in a data URL is seen", "Vision works so.")
def image_(case: Case) -> None:
    asked = user([text("What colour is this? One word."), image(picture())])
    reply = chat(case, asked, feature="pictures")
    case.expect("message" in choice(case, reply), "a message", reply.text)


@check("image-counts", "a picture counts as input", "Users pay for it.", should=True)
def image_counts(case: Case) -> None:
    words = "What colour is this? One word."
    reply = chat(case, user([text(words), image(picture(256))]), feature="pictures")
    bare = chat(case, user([text(words)]))
    with_, without = (r.json["usage"]["prompt_tokens"] for r in (reply, bare))
    case.expect(with_ > without, f"more than {without} tokens", with_)


@check("image-broken", "a picture that is none is no failure of the server", "Files are broken.")
def image_broken(case: Case) -> None:
    body = case.target.plain("chat", messages=[user([text("What?"), image("data:image/png;base64,AAAA")])])
    reply = case.ask("chat", body)
    case.expect(reply.status < 500, "an answer or a refusal", f"{reply.status} {reply.text}")


@check("image-scheme", "a file: URL is refused", "Files of the server would be read.")
def image_scheme(case: Case) -> None:
    body = case.target.plain("chat", messages=[user([text("What?"), image("file:///etc/passwd")])])
    reply = case.ask("chat", body)
    case.expect(400 <= reply.status < 500, "a refusal", f"{reply.status} {reply.text}")


CHECKS = _suite.checks
