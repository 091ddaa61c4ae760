"""Names of tools: mapped to what a provider takes, the same every time, and back without a trace."""

from __future__ import annotations

import msgspec
import pytest
from asking import NAMES
from hypothesis import given
from hypothesis import strategies as st

from llm_router.domain.errors import InvalidRequest
from llm_router.wire import chat, events
from llm_router.wire.toolnames import (
    NAME_RULES,
    changed_names,
    client_names,
    fit_tools,
    named_back,
    reply_named_back,
)


def asked(*names: str) -> chat.ChatRequest:
    call = chat.ToolCall(id="1", name=names[0], arguments="{}")
    result = chat.ToolResult(call_id="1", name=names[0])
    return chat.ChatRequest(
        model="m",
        dialect="anthropic_messages",
        messages=(
            chat.Message(role="assistant", parts=(call,)),
            chat.Message(role="tool", parts=(result,)),
        ),
        tools=tuple(chat.Tool(name=name) for name in names),
        tool_choice=chat.ToolChoice(mode="tool", name=names[0]),
    )


@pytest.mark.parametrize("dialect", list(NAME_RULES))
@given(names=st.lists(st.text(max_size=100) | st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
def test_every_name_fits_is_unique_and_comes_back(dialect: str, names: list[str]) -> None:
    request = asked(*names)
    fitted = fit_tools(request, dialect)
    sent = [tool.name for tool in fitted.tools]
    assert all(NAME_RULES[dialect].takes(name) for name in sent)
    assert len(set(sent)) == len(names)
    assert fitted.tool_choice is not None
    assert fitted.tool_choice.name == sent[0]
    assert {getattr(part, "name", None) for m in fitted.messages for part in m.parts} == {sent[0]}
    back = client_names(request, dialect)
    opened = [events.PartOpened(part=0, form="tool_call", name=name) for name in sent]
    assert [getattr(named_back(event, back), "name", None) for event in opened] == names
    assert changed_names(fitted, dialect) == {}


def test_a_whole_reply_is_named_back() -> None:
    request = asked("a.b")
    call = chat.ToolCall(id="1", name="a_b", arguments="{}")
    reply = events.Reply(choices=(events.Choice(parts=(call,), finish=events.Finish.TOOL_CALLS),))
    named = reply_named_back(reply, client_names(request, "openai_chat"))
    assert named.choices[0].parts == (msgspec.structs.replace(call, name="a.b"),)


def test_the_same_tool_twice_is_one_and_two_of_one_name_are_refused() -> None:
    request = asked("a", "b")
    twice = msgspec.structs.replace(request, tools=(*request.tools, *request.tools))
    assert fit_tools(twice, "openai_chat") == request
    other = chat.Tool(name="a", description="another one")
    with pytest.raises(InvalidRequest, match="named 'a'"):
        fit_tools(msgspec.structs.replace(request, tools=(*request.tools, other)), "openai_chat")
