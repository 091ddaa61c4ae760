"""The canonical request as Google's body. https://ai.google.dev/api/generate-content#request-body"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest, UnsupportedContent
from llm_router.wire import chat
from llm_router.wire.callids import IdForm, fitted
from llm_router.wire.chat import Raw
from llm_router.wire.dialect import Target
from llm_router.wire.dialects.gemini_generate.members import NAME, object_of, value_of
from llm_router.wire.dialects.gemini_generate.parts import CUSTOM_INPUT, PartWriter
from llm_router.wire.dialects.gemini_generate.signatures import SKIP
from llm_router.wire.dialects.gemini_generate.thinking import generation, needs_signatures, thinking_config
from llm_router.wire.jsonschema import GEMINI_SCHEMA, reduce_schema
from llm_router.wire.loss import Loss
from llm_router.wire.quirks import applies, apply_quirks
from llm_router.wire.toolnames import fit_tools

STOPS_MAX = 5
CHOICES_MAX = 8
SEED_MAX = 2**31 - 1

OPENING = "."
"""The user's turn that is put before a conversation which the assistant opened."""

_TIERS = {"auto": "standard", "default": "standard", "standard_only": "standard"}
_TIERS |= {tier: tier for tier in ("standard", "flex", "priority")}


_IDS = IdForm(fits=re.compile(r".*", re.DOTALL))
"""Any ids, but each for one call."""


def encode_request(request: chat.ChatRequest, target: Target) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what was lost.

    Raises:
        UnsupportedContent: no content, or media that Google cannot be given.
        InvalidRequest: a tool result that answers no call; two different tools of one name.
    """
    encoder = _Encoder(fitted(request, _IDS), target)
    body = encoder.body()
    losses = encoder.losses + apply_quirks(body, target.quirks, *target.names)
    return msgspec.json.encode(body), tuple(losses)


class _Encoder:
    def __init__(self, request: chat.ChatRequest, target: Target) -> None:
        self._request = request = fit_tools(request, NAME)
        self._target = target
        self._parts = PartWriter(foreign=False, takes_urls=target.takes_urls)
        self.losses = self._parts.losses
        self._names: dict[str, str] = {}
        self._order: dict[str, int] = {}
        self._contents: list[dict[str, Any]] = []

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {}
        system = self._messages()
        if not self._contents and system:
            self._lose("messages[].role", "Gemini needs a user turn; the system text is sent as one")
            self._contents, system = [{"role": "user", "parts": system}], []
        if not self._contents:
            raise UnsupportedContent(
                "The conversation is empty: at least one message must hold text.", param="messages"
            )
        if self._contents[0]["role"] == "model":
            self._contents.insert(0, {"role": "user", "parts": [{"text": OPENING}]})
        body["contents"] = self._contents
        if system:
            body["systemInstruction"] = {"parts": system}
        self._tools(body)
        config = self._config()
        if config:
            body["generationConfig"] = config
        self._rest(body)
        return body

    def _lose(self, field: str, why: str) -> None:
        self.losses.append(Loss(field=field, why=why))

    # messages

    def _messages(self) -> list[dict[str, Any]]:
        """Fill the contents; return the parts of the system instruction."""
        system: list[dict[str, Any]] = []
        for message in self._request.messages:
            if message.name is not None:
                self._lose("messages[].name", "Gemini's turns have no name")
            match message.role:
                case "system" | "developer":
                    if self._contents:
                        self._lose(
                            "messages[].role", "system text within the conversation is moved to its start"
                        )
                    system += [{"text": p.text} for p in message.parts if isinstance(p, chat.Text) and p.text]
                    self._cache_marks(message)
                case "assistant":
                    self._turn("model", self._assistant(message))
                case _:
                    self._turn("user", self._user(message))
        for content in self._contents:
            if content["role"] == "user":
                content["parts"] = self._sorted(content["parts"])
        return system

    def _turn(self, role: str, parts: list[Any]) -> None:
        """Append parts to the last content of that role, or begin a new one."""
        if not parts:
            return
        if self._contents and self._contents[-1]["role"] == role:
            self._contents[-1]["parts"] += parts
        else:
            self._contents.append({"role": role, "parts": parts})

    def _assistant(self, message: chat.Message) -> list[Any]:
        self._cache_marks(message)
        calls = [part for part in message.parts if isinstance(part, chat.ToolCall)]
        for call in calls:
            self._names[call.id] = call.name
            self._order[call.id] = len(self._order)
        parts: list[Any] = []
        for part in message.parts:
            written = self._parts.write(part)
            if written is not None:
                parts.append(written)
        if calls and needs_signatures(self._target.base):
            first = next(part for part in parts if isinstance(part, dict) and "functionCall" in part)
            first.setdefault("thoughtSignature", SKIP)
        return parts

    def _user(self, message: chat.Message) -> list[Any]:
        self._cache_marks(message)
        parts: list[Any] = []
        for part in message.parts:
            if isinstance(part, chat.ToolResult):
                parts += self._result(part)
                continue
            written = self._parts.write(part)
            if written is not None:
                parts.append(written)
        return parts or ([{"text": ""}] if self._request.dialect == NAME else [])

    def _result(self, result: chat.ToolResult) -> list[Any]:
        """``functionResponse``, and behind it the media that it cannot hold."""
        name = self._names.get(result.call_id, result.name)
        if name is None:
            raise InvalidRequest(
                f"The tool result for {result.call_id!r} answers no earlier tool call; "
                "send the assistant message with that call before it.",
                param="messages",
            )
        texts = [part.text for part in result.content if isinstance(part, chat.Text)]
        answer: dict[str, Any] = {"id": result.call_id} if result.call_id else {}
        answer |= {"name": name, "response": _response(texts, result.is_error)}
        inside: list[Any] = []
        behind: list[Any] = []
        for part in result.content:
            if isinstance(part, chat.Media):
                holds = generation(self._target.base) >= 3 and part.form in ("image", "file")
                (inside if holds else behind).append(self._parts.media(part))
        if inside:
            answer["parts"] = inside
        return [{"functionResponse": answer}, *behind]

    def _sorted(self, parts: list[Any]) -> list[Any]:
        """Function results first, in the order of their calls; then everything else."""
        results = [part for part in parts if isinstance(part, dict) and "functionResponse" in part]
        if not results:
            return parts
        others = [part for part in parts if not (isinstance(part, dict) and "functionResponse" in part)]
        last = len(self._order)
        results.sort(key=lambda part: self._order.get(part["functionResponse"].get("id", ""), last))
        return results + others

    def _cache_marks(self, message: chat.Message) -> None:
        if any(getattr(part, "cache", None) is not None for part in message.parts):
            self._lose("cache_control", "Gemini caches by itself")
        if any(isinstance(part, chat.Text) and part.citations for part in message.parts):
            self._lose("messages[].annotations", "Gemini takes no citations back")

    # tools

    def _tools(self, body: dict[str, Any]) -> None:
        declarations: list[dict[str, Any]] = []
        others: list[Raw] = []
        for tool in self._request.tools:
            if tool.raw is not None:
                if tool.dialect == NAME:
                    others.append(tool.raw)
                else:
                    self._lose(f"tools[{tool.name}]", f"only {tool.dialect} has this tool")
                continue
            declarations.append(self._declaration(tool))
        tools: list[Any] = [{"functionDeclarations": declarations}] if declarations else []
        if tools or others:
            body["tools"] = tools + others
        choice = self._choice()
        if choice:
            body["toolConfig"] = choice
        if self._request.parallel_tool_calls is False and declarations:
            self._lose("parallel_tool_calls", "Gemini may always call several functions at once")

    def _declaration(self, tool: chat.Tool) -> dict[str, Any]:
        written: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            written["description"] = tool.description
        if tool.cache is not None:
            self._lose("cache_control", "Gemini caches by itself")
        if tool.custom:
            if tool.format is not None:
                self._lose("tools[].custom.format", "Gemini takes no grammar")
            schema = {
                "type": "object",
                "properties": {CUSTOM_INPUT: {"type": "string"}},
                "required": [CUSTOM_INPUT],
            }
            return written | {self._schema_member("parametersJsonSchema", "parameters"): schema}
        if tool.strict:
            self._lose("tools[].function.strict", "Gemini does not promise to follow a function's schema")
        schema_of = object_of(tool.parameters)
        if schema_of:
            name = self._schema_member("parametersJsonSchema", "parameters")
            written[name] = self._schema(tool.parameters, name == "parameters", "tools[].function.parameters")
        return written

    def _schema(self, schema: Raw | None, reduced: bool, field: str) -> object:
        if not reduced:
            return schema
        value, losses = reduce_schema(value_of(schema), GEMINI_SCHEMA)
        for loss in losses:
            self._lose(f"{field}.{loss.field}", loss.why)
        return value

    def _schema_member(self, name: str, reduced: str) -> str:
        """The member for a schema: the reduced one if a quirk renames the JSON Schema one to it."""
        for quirk in self._target.quirks:
            meant = applies(quirk, self._target.names)
            ends = quirk.field.rpartition(".")[2], (quirk.to or "").rpartition(".")[2]
            if meant and quirk.edit in ("rename", "move") and ends == (name, reduced):
                return reduced
        return name

    def _choice(self) -> dict[str, Any]:
        choice = self._request.tool_choice
        config: dict[str, Any] = self._extra("toolConfig")
        if choice is None or not self._request.tools:
            return config
        calling = dict(config.get("functionCallingConfig") or {})
        allowed = list(choice.allowed)
        match choice.mode:
            case "none":
                calling["mode"] = "NONE"
            case "required":
                calling["mode"] = "ANY"
            case "tool":
                calling["mode"], allowed = "ANY", [choice.name] if choice.name else []
            case "auto":
                # names may be narrowed only where calls are checked
                calling.setdefault("mode", "VALIDATED" if allowed else "AUTO")
        if allowed:
            calling["allowedFunctionNames"] = allowed
        return config | {"functionCallingConfig": calling}

    # configuration

    def _extra(self, name: str) -> dict[str, Any]:
        """What a Gemini client said in a member beyond the canonical words."""
        raw = self._request.extras.get(name) if self._request.dialect == NAME else None
        value = value_of(raw)
        return value if isinstance(value, dict) else {}

    def _config(self) -> dict[str, Any]:
        request = self._request
        config = self._extra("generationConfig")
        said: dict[str, object] = {
            "maxOutputTokens": self._max_tokens(),
            "candidateCount": self._choices(),
            "seed": self._seed(),
            "stopSequences": self._stops(),
            "responseModalities": [m.upper() for m in request.modalities] or None,
        }
        said |= self._sampling() | self._response_format() | self._logprobs()
        config |= {name: value for name, value in said.items() if value is not None}
        thinking, losses = thinking_config(request, self._target)
        self.losses += losses
        if thinking:
            config["thinkingConfig"] = thinking
        return config

    def _sampling(self) -> dict[str, object]:
        request = self._request
        pairs = {
            "temperature": ("temperature", request.temperature),
            "topP": ("top_p", request.top_p),
            "topK": ("top_k", request.top_k),
            "frequencyPenalty": ("frequency_penalty", request.frequency_penalty),
            "presencePenalty": ("presence_penalty", request.presence_penalty),
        }
        if self._target.capabilities.sampling:
            return {name: value for name, (_, value) in pairs.items()}
        for field, value in pairs.values():
            if value is not None:
                self._lose(field, "this model sets its sampling itself")
        return {}

    def _max_tokens(self) -> int | None:
        asked, most = self._request.max_tokens, self._target.output_tokens_max
        if asked is None:
            cap = self._target.output_tokens_cap
            return cap if cap is None or most is None else min(cap, most)
        if most is not None and asked > most:
            self._lose("max_tokens", f"this model writes at most {most} tokens")
            return most
        return asked

    def _choices(self) -> int | None:
        if self._request.n > CHOICES_MAX:
            self._lose("n", f"Gemini gives at most {CHOICES_MAX} answers at once")
        return min(self._request.n, CHOICES_MAX) if self._request.n > 1 else None

    def _seed(self) -> int | None:
        seed = self._request.seed
        if seed is None or -SEED_MAX <= seed <= SEED_MAX:
            return seed
        self._lose("seed", "Gemini's seed has 32 bits")
        return None

    def _logprobs(self) -> dict[str, object]:
        """Log probabilities; how many alternatives of each token can be asked for only with them."""
        wanted, most = self._request.logprobs, self._request.top_logprobs
        if most is not None and wanted is False:
            self._lose("top_logprobs", "logprobs are not asked for")
            most = None
        return {"responseLogprobs": True if most is not None else wanted, "logprobs": most}

    def _stops(self) -> list[str] | None:
        stops = [stop for stop in self._request.stop if stop]
        if len(stops) > STOPS_MAX:
            self._lose("stop", f"Gemini takes {STOPS_MAX} stop sequences; the rest is left out")
        return stops[:STOPS_MAX] or None

    def _response_format(self) -> dict[str, object]:
        wish = self._request.response_format
        if wish is None or wish.mode == "text":
            return {}
        config: dict[str, object] = {"responseMimeType": "application/json"}
        if wish.mode == "json_schema" and wish.schema is not None:
            name = self._schema_member("responseJsonSchema", "responseSchema")
            config[name] = self._schema(wish.schema, name == "responseSchema", "response_format.schema")
        return config

    def _rest(self, body: dict[str, Any]) -> None:
        request = self._request
        if request.service_tier is not None:
            tier = request.service_tier if request.dialect == NAME else _TIERS.get(request.service_tier)
            if tier is None:
                self._lose("service_tier", "Gemini has no such tier")
            else:
                body["serviceTier"] = tier
        for field, value in (
            ("user", request.user),
            ("metadata", request.metadata),
            ("verbosity", request.verbosity),
            ("prompt_cache_key", request.prompt_cache_key),
        ):
            if value is not None:
                self._lose(field, "Gemini has no such member")
        for name, raw in request.extras.items():
            if request.dialect != NAME:
                self._lose(name, "Gemini has no such member")
            elif name not in ("generationConfig", "toolConfig"):
                body[name] = raw


def _response(texts: list[str], is_error: bool) -> dict[str, Any] | Raw:
    """A function's answer: an object as it is, text under ``result``, a failure under ``error``."""
    text = "\n".join(texts)
    if not texts and not is_error:
        return {}
    data = text.encode("utf-8", "replace")
    value = value_of(data) if text.lstrip()[:1] == "{" else None
    if is_error:
        if isinstance(value, dict) and "error" in value:
            return value
        return {"error": value if isinstance(value, dict) else text}
    return Raw(data) if isinstance(value, dict) else {"result": text}
