"""Ready settings for clients and agents: one small function each, from an address, a key and a model.

Each gives what belongs into the client's own file or shell, and notes for whoever puts it there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

NAME = "llm-router"


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into every configuration.

    Attributes:
        root: the gateway's address without ``/v1``.
        key: the key itself; None: it is in the environment variable ``key_env``.
        model, fast: public ids; ``fast`` is for clients with a second model for small tasks.
        entry: the model as ``GET /v1/models`` lists it; empty where that is not known.
    """

    root: str
    key: str | None
    key_env: str
    model: str
    fast: str
    entry: Mapping[str, Any]

    @property
    def url(self) -> str:
        return f"{self.root}/v1"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The text for standard output, its format, and what a person has to know beside it."""

    text: str
    format: str
    notes: tuple[str, ...] = ()


def _shell(setup: Setup, key_name: str | None, /, **values: str) -> str:
    """Lines of ``export``; the key is taken from its variable where it was not given."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    if key_name is not None and setup.key is not None:
        lines.append(f"export {key_name}={shlex.quote(setup.key)}")
    elif key_name is not None and key_name != setup.key_env:
        lines.append(f'export {key_name}="${setup.key_env}"')
    return "\n".join(lines)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _q(text: str) -> str:
    """A string as JSON, TOML and YAML write it."""
    return json.dumps(text, ensure_ascii=False)


def _shell_notes(setup: Setup) -> tuple[str, ...]:
    return () if setup.key is not None else (f"The key is read from the variable {setup.key_env}.",)


def openai(setup: Setup) -> Config:
    """https://github.com/openai/openai-python#module-level-client: both variables are read by every SDK."""
    text = _shell(setup, "OPENAI_API_KEY", OPENAI_BASE_URL=setup.url)
    return Config(text=text, format="sh", notes=_shell_notes(setup))


def anthropic(setup: Setup) -> Config:
    """https://docs.anthropic.com/en/api/client-sdks: the base URL is without /v1."""
    text = _shell(setup, "ANTHROPIC_API_KEY", ANTHROPIC_BASE_URL=setup.root)
    return Config(text=text, format="sh", notes=_shell_notes(setup))


def gemini(setup: Setup) -> Config:
    """https://googleapis.github.io/python-genai: GOOGLE_API_KEY would win over GEMINI_API_KEY."""
    text = "unset GOOGLE_API_KEY\n" + _shell(setup, "GEMINI_API_KEY", GOOGLE_GEMINI_BASE_URL=setup.root)
    return Config(text=text, format="sh", notes=_shell_notes(setup))


def gemini_cli(setup: Setup) -> Config:
    """https://github.com/google-gemini/gemini-cli: its SDK reads the base URL, the tool the model. With a
    base URL and no sign-in chosen, version 0.61 without a terminal says "Invalid auth method selected"."""
    made = gemini(setup)
    text = f"{made.text}\n{_shell(setup, None, GEMINI_MODEL=setup.model)}"
    chosen = '{"security": {"auth": {"selectedType": "gemini-api-key"}}}'
    note = f"It needs the sign-in by key chosen, in ~/.gemini/settings.json: {chosen}"
    return Config(text=text, format="sh", notes=(*made.notes, note))


def claude_code(setup: Setup) -> Config:
    """https://docs.anthropic.com/en/docs/claude-code/llm-gateway: the token goes as a bearer; a key that
    is set would be taken in its place."""
    values = {"ANTHROPIC_BASE_URL": setup.root, "ANTHROPIC_API_KEY": "", "ANTHROPIC_MODEL": setup.model}
    if not setup.model.startswith("claude-"):  # the gateway knows Claude Code's own names of Claude
        values |= {f"ANTHROPIC_DEFAULT_{tier}_MODEL": setup.model for tier in ("OPUS", "SONNET")}
    values |= {"ANTHROPIC_DEFAULT_HAIKU_MODEL": setup.fast, "ANTHROPIC_SMALL_FAST_MODEL": setup.fast}
    text = _shell(setup, "ANTHROPIC_AUTH_TOKEN", **values)
    notes = (
        "Older versions read ANTHROPIC_SMALL_FAST_MODEL in place of ANTHROPIC_DEFAULT_HAIKU_MODEL.",
        "Then start: claude",
    )
    return Config(text=text, format="sh", notes=(*_shell_notes(setup), *notes))


def codex(setup: Setup) -> Config:
    """https://developers.openai.com/codex/config-sample: a provider of one's own speaks responses."""
    key = f"env_key = {_q(setup.key_env)}"
    if setup.key is not None:
        key = f"experimental_bearer_token = {_q(setup.key)}"
    text = "\n".join(
        (
            f"model = {_q(setup.model)}",
            f"model_provider = {_q(NAME)}",
            "",
            f"[model_providers.{NAME}]",
            'name = "LLM Router"',
            f"base_url = {_q(setup.url)}",
            key,
            'wire_api = "responses"',
        )
    )
    return Config(
        text=text, format="toml", notes=("It belongs into ~/.codex/config.toml.", *_shell_notes(setup))
    )


def opencode(setup: Setup) -> Config:
    """https://opencode.ai/docs/providers/#custom-provider"""
    key = f"{{env:{setup.key_env}}}" if setup.key is None else setup.key
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "LLM Router",
        "options": {"baseURL": setup.url, "apiKey": key},
        "models": {setup.model: {"name": _shown(setup)}},
    }
    value = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {NAME: provider},
        "model": f"{NAME}/{setup.model}",
    }
    notes = ("It belongs into opencode.json, of the project or in ~/.config/opencode.",)
    return Config(text=_json(value), format="json", notes=(*notes, *_shell_notes(setup)))


def aider(setup: Setup) -> Config:
    """https://aider.chat/docs/llms/openai-compat.html"""
    values = {"OPENAI_API_BASE": setup.url, "AIDER_MODEL": f"openai/{setup.model}"}
    text = _shell(setup, "OPENAI_API_KEY", **values)
    return Config(text=text, format="sh", notes=(*_shell_notes(setup), "Then start: aider"))


def continue_(setup: Setup) -> Config:
    """https://docs.continue.dev/reference"""
    key = f"${{{{ secrets.{setup.key_env} }}}}" if setup.key is None else setup.key
    text = "\n".join(
        (
            "name: LLM Router",
            "version: 0.0.1",
            "schema: v1",
            "models:",
            f"  - name: {_q(_shown(setup))}",
            "    provider: openai",
            f"    model: {_q(setup.model)}",
            f"    apiBase: {_q(setup.url)}",
            f"    apiKey: {_q(key)}",
            "    roles: [chat, edit, apply]",
        )
    )
    notes = ["It belongs into ~/.continue/config.yaml."]
    notes += [f"The key is read from {setup.key_env} in ~/.continue/.env."] if setup.key is None else []
    return Config(text=text, format="yaml", notes=tuple(notes))


def cursor(setup: Setup) -> Config:
    """https://docs.cursor.com/settings/api-keys: there is no file, it is typed into a form."""
    key = f"(the value of {setup.key_env})" if setup.key is None else setup.key
    text = "\n".join(
        (
            "# Cursor Settings > Models > API Keys",
            f"OpenAI API Key: {_q(key)}",
            f"Override OpenAI Base URL: {_q(setup.url)}",
            "# Cursor Settings > Models > Add model",
            f"Model: {_q(setup.model)}",
        )
    )
    notes = ("Cursor's own servers call the address: it must be reachable from the internet, over https.",)
    return Config(text=text, format="yaml", notes=notes)


def litellm(setup: Setup) -> Config:
    """https://docs.litellm.ai/docs/providers/openai_compatible"""
    key = f"os.environ/{setup.key_env}" if setup.key is None else setup.key
    text = "\n".join(
        (
            "model_list:",
            f"  - model_name: {_q(setup.model)}",
            "    litellm_params:",
            f"      model: {_q(f'openai/{setup.model}')}",
            f"      api_base: {_q(setup.url)}",
            f"      api_key: {_q(key)}",
        )
    )
    notes = ("Then start: litellm --config FILE", *_shell_notes(setup))
    return Config(text=text, format="yaml", notes=notes)


def openclaw(setup: Setup) -> Config:
    """https://docs.openclaw.ai/concepts/model-providers"""
    capabilities = setup.entry.get("capabilities") or {}
    model: dict[str, object] = {
        "id": setup.model,
        "name": _shown(setup),
        "reasoning": bool(capabilities.get("reasoning")),
        "input": ["text", "image"] if capabilities.get("vision") else ["text"],
    }
    for name, member in (("contextWindow", "context_length"), ("maxTokens", "max_output_tokens")):
        if setup.entry.get(member) is not None:
            model[name] = setup.entry[member]
    provider = {
        "baseUrl": setup.url,
        "apiKey": _openclaw_key(setup),
        "api": "openai-completions",
        "models": [model],
    }
    value = {
        "models": {"mode": "merge", "providers": {NAME: provider}},
        "agents": {"defaults": {"model": {"primary": f"{NAME}/{setup.model}"}}},
    }
    notes = ("It belongs into ~/.openclaw/openclaw.json.", *_shell_notes(setup))
    return Config(text=_json(value), format="json", notes=notes)


def openclaw_skill(setup: Setup) -> Config:
    """https://docs.openclaw.ai/tools/skills: ``apiKey`` becomes the skill's primary variable."""
    entry = {
        "enabled": True,
        "apiKey": _openclaw_key(setup),
        "env": {"LLM_ROUTER_BASE_URL": setup.url},
    }
    notes = (
        "It belongs into ~/.openclaw/openclaw.json; the folder skill/ goes to ~/.openclaw/skills/llm-router.",
        *_shell_notes(setup),
    )
    return Config(text=_json({"skills": {"entries": {NAME: entry}}}), format="json", notes=notes)


def _openclaw_key(setup: Setup) -> str:
    return f"${{{setup.key_env}}}" if setup.key is None else setup.key


def curl(setup: Setup) -> Config:
    """A first question, as a command."""
    body = json.dumps({"model": setup.model, "messages": [{"role": "user", "content": "Say hello."}]})
    key = f'"Authorization: Bearer ${setup.key_env}"'
    if setup.key is not None:
        key = shlex.quote(f"Authorization: Bearer {setup.key}")
    text = " \\\n  ".join(
        (
            f"curl {shlex.quote(f'{setup.url}/chat/completions')}",
            f"-H {key}",
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(body)}",
        )
    )
    return Config(text=text, format="sh", notes=_shell_notes(setup))


def langchain(setup: Setup) -> Config:
    """https://python.langchain.com/api_reference/openai"""
    return _python(
        setup,
        "from langchain_openai import ChatOpenAI",
        f"model = ChatOpenAI(model={setup.model!r}, base_url={setup.url!r}, api_key={{key}})",
    )


def pydantic_ai(setup: Setup) -> Config:
    """https://ai.pydantic.dev/models/openai/#openai-compatible-models"""
    return _python(
        setup,
        "from pydantic_ai.models.openai import OpenAIChatModel",
        "from pydantic_ai.providers.openai import OpenAIProvider",
        f"provider = OpenAIProvider(base_url={setup.url!r}, api_key={{key}})",
        f"model = OpenAIChatModel({setup.model!r}, provider=provider)",
    )


def _python(setup: Setup, *lines: str) -> Config:
    imports = [line for line in lines if line.startswith("from ")]
    rest = [line for line in lines if not line.startswith("from ")]
    head = ["import os", ""] if setup.key is None else []
    key = f"os.environ[{setup.key_env!r}]" if setup.key is None else repr(setup.key)
    text = "\n".join((*head, *imports, "", *(line.replace("{key}", key) for line in rest)))
    return Config(text=text, format="python")


def _shown(setup: Setup) -> str:
    return str(setup.entry.get("name") or setup.model)


RENDERERS: dict[str, Callable[[Setup], Config]] = {
    "openai": openai,
    "anthropic": anthropic,
    "gemini": gemini,
    "claude-code": claude_code,
    "codex": codex,
    "gemini-cli": gemini_cli,
    "opencode": opencode,
    "aider": aider,
    "continue": continue_,
    "cursor": cursor,
    "litellm": litellm,
    "openclaw": openclaw,
    "openclaw-skill": openclaw_skill,
    "curl": curl,
    "langchain": langchain,
    "pydantic-ai": pydantic_ai,
}
