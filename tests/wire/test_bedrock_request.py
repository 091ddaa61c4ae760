"""Messages and media as Bedrock wants them: what is said, what is lost."""

from __future__ import annotations

import json
import re
from typing import Any

import bedrock_kit as kit
import pytest
from bedrock_asking import CALL, LLAMA, NOVA, PNG, RESULT, SCHEMA, TOOL, ask, content, encode, messages, say

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.wire import chat
from llm_router.wire.chat import Raw
from llm_router.wire.dialects.bedrock_converse import DIALECT

# --- messages ----------------------------------------------------------------------------------------


def test_a_plain_question() -> None:
    body, lost = encode(
        ask(say("system", "Be brief."), say("user", "Ahoy"), max_tokens=50, temperature=0.3, stop=("END",))
    )
    assert body == {
        "messages": [{"role": "user", "content": [{"text": "Ahoy"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.3, "stopSequences": ["END"]},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
    }
    assert lost == []


def test_turns_alternate_and_begin_with_the_user() -> None:
    found = messages(
        say("assistant", "Ahoy!"), say("user", "a"), say("user", "b"), say("system", "c"), say("assistant", "d"),
        say("assistant", "e "),
    )  # fmt: skip
    assert found == [
        {"role": "user", "content": [{"text": "."}]},
        {"role": "assistant", "content": [{"text": "Ahoy!"}]},
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        {"role": "assistant", "content": [{"text": "d"}, {"text": "e"}]},
    ]


def test_blank_text_is_left_out_and_instructions_alone_are_a_question() -> None:
    assert messages(say("user", "x", "  \n"), say("assistant", ""), say("user", "y")) == [
        {"role": "user", "content": [{"text": "x"}, {"text": "y"}]}
    ]
    assert messages(say("system", "Sing.")) == [{"role": "user", "content": [{"text": "Sing."}]}]
    with pytest.raises(UnsupportedContent, match="empty"):
        encode(ask(say("user", " ")))


def test_results_come_first_in_their_turn() -> None:
    found = messages(
        say("user", "?"),
        say("assistant", "Wait.", CALL),
        say("user", "And?"),
        say("tool", RESULT),
        tools=(TOOL,),
    )
    assert found[1]["content"][1] == {
        "toolUse": {"toolUseId": "call_1", "name": "tide", "input": {"a": "Kiel"}}
    }
    assert found[2]["content"] == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "high"}]}},
        {"text": "And?"},
    ]


def test_ids_and_names_fit_the_api() -> None:
    odd = chat.ToolCall(id="call|{}" + "x" * 80, name="näme.with dots", arguments="")
    twice = chat.ToolCall(id=odd.id, name="tide", arguments="[1]")
    found = messages(
        say("user", "?"), say("assistant", odd), say("tool", chat.ToolResult(call_id=odd.id)),
        say("assistant", twice), say("tool", chat.ToolResult(call_id=odd.id, content=(chat.Text(text="b"),))),
        tools=(TOOL,),
    )  # fmt: skip
    first, second = found[1]["content"][0]["toolUse"], found[3]["content"][0]["toolUse"]
    assert first["toolUseId"] != second["toolUseId"]
    assert found[2]["content"][0]["toolResult"] == {
        "toolUseId": first["toolUseId"],
        "content": [{"text": "(no output)"}],
    }
    assert found[4]["content"][0]["toolResult"]["toolUseId"] == second["toolUseId"]
    assert first["name"] == "n_me_with_dots"
    assert second["input"] == {"_raw": "[1]"}


def test_a_result_without_its_call_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="call_1"):
        encode(ask(say("user", "?"), say("tool", RESULT), tools=(TOOL,)))


def test_a_failed_tool_is_told_to_those_that_understand() -> None:
    failed = chat.ToolResult(call_id="call_1", content=(chat.Text(text="no"),), is_error=True)
    for model, status, field in (
        (kit.CLAUDE, "error", []),
        (NOVA, "error", []),
        (LLAMA, None, ["messages[].is_error"]),
    ):
        body, lost = encode(
            ask(say("user", "?"), say("assistant", CALL), say("tool", failed), tools=(TOOL,)), model
        )
        assert body["messages"][2]["content"][0]["toolResult"].get("status") == status
        assert lost == field


def test_reasoning_goes_back_with_its_signature_alone() -> None:
    mine = chat.Thinking(text="hm", signature="c2ln", origin="bedrock_converse")
    claudes = chat.Thinking(text="ha", signature="c2lo", origin="anthropic_messages")
    hidden = chat.Thinking(redacted="AAEC", origin="bedrock_converse")
    others = (chat.Thinking(text="no"), chat.Thinking(text="x", signature="s", origin="gemini_generate"),
              chat.Thinking(redacted="zzz", origin="anthropic_messages"))  # fmt: skip
    given_ = ask(say("user", "?"), say("assistant", mine, claudes, hidden, *others, "So."), say("user", "!"))
    body, lost = encode(given_)
    assert body["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"reasoningText": {"text": "ha", "signature": "c2lo"}}},
        {"reasoningContent": {"redactedContent": "AAEC"}},
        {"text": "So."},
    ]
    assert lost == ["messages[].reasoning"]
    assert [next(iter(block)) for block in encode(given_, NOVA)[0]["messages"][1]["content"]] == [
        "reasoningContent", "text",
    ]  # fmt: skip


def test_what_came_from_here_goes_back_as_it_was() -> None:
    block = Raw(b'{"toolUse":{"toolUseId":"s0","name":"abacus","input":{"n":1.0},"type":"server_tool_use"}}')
    own = chat.Opaque(dialect="bedrock_converse", name="toolUse", raw=block)
    data, _ = DIALECT.encode_request(
        ask(say("user", "?"), say("assistant", own), say("user", "!")), kit.target()
    )
    assert bytes(block) in data
    source = chat.Citation(title="t", dialect="bedrock_converse", raw=Raw(b'{"title":"t"}'))
    cited = chat.Text(text="Oak.", citations=(source,))
    assert messages(say("user", "?"), say("assistant", cited), say("user", "!"))[1]["content"] == [
        {"citationsContent": {"content": [{"text": "Oak."}], "citations": [{"title": "t"}]}}
    ]


def test_what_came_from_elsewhere_is_a_declared_loss() -> None:
    foreign = chat.Opaque(dialect="gemini_generate", name="executableCode", raw=Raw(b"{}"))
    cited = chat.Text(text="Oak.", citations=(chat.Citation(url="https://a.example"),))
    picture = chat.Media(form="image", data=PNG, media_type="image/png")
    body, lost = encode(ask(say("user", "?"), say("assistant", foreign, cited, picture), say("user", "!")))
    assert body["messages"][1]["content"] == [{"text": "Oak."}]
    assert lost == ["executableCode", "messages[].annotations", "messages[].content"]


def test_cache_points_follow_what_they_mark() -> None:
    marked = chat.Text(text="long", cache=chat.CacheMark(ttl="1h"))
    result = chat.ToolResult(call_id="call_1", content=(chat.Text(text="r"),), cache=chat.CacheMark())
    tool = chat.Tool(name="tide", parameters=SCHEMA, cache=chat.CacheMark(ttl="1h"))
    given_ = ask(chat.Message(role="system", parts=(marked,)), say("user", "?"), say("assistant", CALL),
                 say("user", "x"), say("tool", result), tools=(tool,))  # fmt: skip
    body, lost = encode(given_)
    assert body["system"] == [{"text": "long"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert [next(iter(block)) for block in body["messages"][2]["content"]] == [
        "toolResult",
        "cachePoint",
        "text",
    ]
    assert body["toolConfig"]["tools"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert lost == []
    assert encode(given_, NOVA)[0]["system"][1] == {"cachePoint": {"type": "default"}}
    body, lost = encode(given_, LLAMA)
    assert lost == ["cache_control"]
    assert "cachePoint" not in json.dumps(body)


# --- media -------------------------------------------------------------------------------------------


def test_images_by_their_true_format() -> None:
    for media_type in ("image/png", "image/jpeg", None, "application/octet-stream"):
        part = chat.Media(form="image", data=PNG, media_type=media_type)
        assert content("see", part)[1] == {"image": {"format": "png", "source": {"bytes": PNG}}}
    url = chat.Media(form="image", url=f"data:image/png;base64,{PNG}", detail="low")
    body, lost = encode(ask(say("user", url)))
    assert body["messages"][0]["content"] == [{"image": {"format": "png", "source": {"bytes": PNG}}}]
    assert lost == ["messages[].content[].image_url.detail"]


@pytest.mark.parametrize(
    ("media_type", "filename", "format_"),
    [
        ("application/pdf", "a.pdf", "pdf"), ("text/csv", None, "csv"), ("text/plain", "x.py", "txt"),
        ("text/markdown", None, "md"), ("text/html", None, "html"), ("application/json", "a.json", "txt"),
        ("application/octet-stream", "report.docx", "docx"), (None, "table.xlsx", "xlsx"), (None, None, "txt"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", None, "docx"),
        ("image/png", None, None), ("application/x-lion", None, "refused"),
    ],
)  # fmt: skip
def test_documents(media_type: str | None, filename: str | None, format_: str | None) -> None:
    part = chat.Media(
        form="file",
        data=PNG if media_type == "image/png" else "aGk=",
        media_type=media_type,
        filename=filename,
    )
    if format_ == "refused":
        with pytest.raises(UnsupportedContent, match="application/x-lion"):
            content(part)
        return
    block = content("see", part)[1]
    if format_ is None:
        assert "image" in block
        return
    assert block["document"]["format"] == format_
    assert block["document"]["source"] == {"bytes": "aGk="}


def test_names_of_documents_are_clean_and_each_used_once() -> None:
    names = ["Q3/Größe_(final).v2.pdf", "a  b.pdf", "a b.pdf", None, "", "x" * 400 + ".pdf", "日本.pdf"]
    parts = [
        chat.Media(form="file", data="aGk=", media_type="application/pdf", filename=name) for name in names
    ]
    found = [block["document"]["name"] for block in content("see", *parts)[1:]]
    assert found[:5] == ["Gr e (final) v2", "a b", "a b (2)", "document", "document (2)"]
    assert found[6] == "document (3)"
    assert all(
        re.fullmatch(r"[A-Za-z0-9()\[\]-]+( [A-Za-z0-9()\[\]-]+)*", name) and len(name) <= 200
        for name in found
    )
    assert len(set(found)) == len(found)


def test_a_document_never_stands_without_text() -> None:
    part = chat.Media(form="file", data="aGk=", media_type="application/pdf")
    assert content(part)[1] == {"text": "."}


@pytest.mark.parametrize(
    ("form", "media_type", "block"),
    [
        ("video", "video/mp4", {"video": {"format": "mp4", "source": {"bytes": "aGk="}}}),
        ("video", "video/quicktime", {"video": {"format": "mov", "source": {"bytes": "aGk="}}}),
        ("video", "video/3gpp", {"video": {"format": "three_gp", "source": {"bytes": "aGk="}}}),
        ("file", "video/webm", {"video": {"format": "webm", "source": {"bytes": "aGk="}}}),
        ("audio", "audio/mpeg", {"audio": {"format": "mp3", "source": {"bytes": "aGk="}}}),
        ("audio", "audio/wav", {"audio": {"format": "wav", "source": {"bytes": "aGk="}}}),
    ],
)
def test_video_and_sound(form: Any, media_type: str, block: dict[str, Any]) -> None:
    assert content("see", chat.Media(form=form, data="aGk=", media_type=media_type))[1] == block


@pytest.mark.parametrize(
    "part",
    [
        chat.Media(form="image", url="https://a.example/x.png"), chat.Media(form="file", file_id="file-1", origin="x"),
        chat.Media(form="image", data="Qk0=", media_type="image/bmp"), chat.Media(form="video", data="aGk="),
        chat.Media(form="image", url="data:image/png;base64"), chat.Media(form="audio", data="aGk=", media_type="audio/x-odd"),
    ],
)  # fmt: skip
def test_media_that_cannot_be_given(part: chat.Media) -> None:
    with pytest.raises(UnsupportedContent):
        content("see", part)


def test_results_hold_media_too() -> None:
    result = chat.ToolResult(
        call_id="call_1", content=(chat.Media(form="image", data=PNG, media_type="image/png"),)
    )
    found = messages(say("user", "?"), say("assistant", CALL), say("tool", result), tools=(TOOL,))
    assert "image" in found[2]["content"][0]["toolResult"]["content"][0]
