"""An answer that a simulated model goes on with is the whole answer, wherever it broke off and whoever began it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from llm_router.sandbox.model import simulate
from llm_router.sandbox.prompt import Prompt
from llm_router.wire import chat, events
from llm_router.wire.continuing.asking import Asked, asked
from llm_router.wire.continuing.overlap import Overlap
from llm_router.wire.continuing.partial import JsonText
from llm_router.wire.continuing.told import Told
from llm_router.wire.dialect import Target

NAME, OTHER = "claude-sonnet-4-5", "maker/claude-sonnet-4.5-20250929"
BEGINS = chat.Message(role="system", parts=(chat.Text(text='Begin every answer with "Aye". In upper case.'),))
REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {"text": "Tell me about the sea, and the long way home."},
    "long": {"text": "[[long 90]] go"},
    "same": {"text": f"Reply with exactly: {' '.join(['ha'] * 24)}"},
    "list": {"text": 'Reply with exactly: "an item\nanother item\nan item\nanother item\nlast item"'},
    "ordered": {"text": "What is 17*23?", "before": (BEGINS,)},
    "json": {"text": "Ada", "response_format": chat.ResponseFormat(mode="json_object")},
}


def request_of(name: str, model: str) -> chat.ChatRequest:
    fields = dict(REQUESTS[name])
    message = chat.Message(role="user", parts=(chat.Text(text=fields.pop("text")),))
    messages = (*fields.pop("before", ()), message)
    return chat.ChatRequest(messages=messages, model=model, dialect="openai_chat", **fields)


def said(request: chat.ChatRequest) -> str:
    choice = simulate(Prompt(request)).reply.choices[0]
    return "".join(part.text for part in choice.parts if isinstance(part, chat.Text))


def told_so_far(text: str) -> Told:
    told = Told()
    told.add(events.PartOpened(part=0, form="text"))
    told.add(events.PartDelta(part=0, text=text))
    return told


def unnamed(text: str) -> str:
    """The text without the model's name, of which no more than a part had arrived, and (orders of a length count it)
    without what stands at its end."""
    return re.sub(r"(\[simulated |\"model\":\")[^\]\"]*", r"\1", text)[:180]


def gone_on(begun: str, ask: Asked) -> str:
    """What the client gets of an answer that broke off and was asked for in words."""
    if ask.way == "again":
        return said(ask.request)
    json = None
    if ask.json:
        json = JsonText()
        json.feed(begun)
    joint = Overlap(begun, prompted=True, json=json, anew=ask.anew)
    return begun + joint.feed(said(ask.request)) + joint.close()


@pytest.mark.parametrize("model", [NAME, OTHER], ids=["same", "other"])
@pytest.mark.parametrize("name", REQUESTS)
def test_asked_in_words_it_says_the_rest_wherever_it_broke_off(name: str, model: str) -> None:
    whole = said(request_of(name, NAME))
    target = Target(provider="p", dialect="openai_chat", model=model)
    for cut in range(len(whole)):
        begun = whole[:cut]
        ask = asked(told_so_far(begun), request_of(name, model), target, limit=None, prefill=False)
        got = gone_on(begun, ask)
        assert got.startswith(begun)
        same = got == whole if NAME in begun else unnamed(got) == unnamed(whole)
        assert same, f"broke off at {cut}: {got!r}"


@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "json"])
def test_begun_for_it_it_says_the_rest_wherever_it_broke_off(name: str) -> None:
    whole = said(request_of(name, NAME))
    request = request_of(name, OTHER)
    for cut in range(len(f"[simulated {NAME}]") + 10, len(whole)):
        turn = chat.Message(role="assistant", parts=(chat.Text(text=whole[:cut]),))
        rest = said(msgspec.structs.replace(request, messages=(*request.messages, turn)))
        assert whole[:cut] + rest == whole


def test_words_that_stand_in_the_answer_twice_do_not_say_where_it_goes_on() -> None:
    request = request_of("long", NAME)
    whole = said(request)
    turn = chat.Message(role="assistant", parts=(chat.Text(text="I think that it is simulated answer"),))
    assert said(msgspec.structs.replace(request, messages=(*request.messages, turn))) == whole
