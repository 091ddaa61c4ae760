"""The clients: what is installed for each, and the script that tries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What one script needs.

    Attributes:
        kind: "pip" (a virtual environment) or "npm" (a folder with node_modules).
        packages: as pip or npm take them.
        script: path below this folder; agents are tried by a Python script of ours.
        heavy: takes minutes to install or to run; only by name, or with ``--heavy``.
    """

    name: str
    kind: Literal["pip", "npm"]
    packages: tuple[str, ...]
    script: str
    heavy: bool = False


def _pip(name: str, script: str, *packages: str, heavy: bool = False) -> Environment:
    return Environment(name=name, kind="pip", packages=packages, script=f"python/{script}", heavy=heavy)


def _npm(name: str, script: str, *packages: str) -> Environment:
    return Environment(name=name, kind="npm", packages=packages, script=script, heavy=True)


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        _pip("openai", "openai_sdk.py", "openai>=3,<4"),
        _pip("anthropic", "anthropic_sdk.py", "anthropic>=2,<3"),
        _pip("google-genai", "google_sdk.py", "google-genai>=3,<4"),
        _pip("langchain-openai", "langchain_chat.py", "langchain-openai"),
        _pip("langchain-anthropic", "langchain_chat.py", "langchain-anthropic"),
        _pip("langchain-google-genai", "langchain_chat.py", "langchain-google-genai"),
        _pip("pydantic-ai", "pydantic_ai_agents.py", "pydantic-ai-slim[openai,anthropic,google]"),
        _pip("instructor", "instructor_models.py", "instructor[anthropic,google-genai]"),
        _pip("openai-agents", "openai_agents.py", "openai-agents"),
        _pip("litellm", "litellm_sdk.py", "litellm", "mcp", "tenacity"),
        _pip("mistralai", "mistral_sdk.py", "mistralai"),
        _pip("llm", "llm_cli.py", "llm"),
        _pip("aider", "aider_chat.py", "aider-chat", heavy=True),
        _npm("openai-node", "node/openai.mjs", "openai", "zod"),
        _npm("anthropic-node", "node/anthropic.mjs", "@anthropic-ai/sdk"),
        _npm("google-node", "node/google.mjs", "@google/genai"),
        _npm(
            "ai-sdk", "node/ai_sdk.mjs", "ai", "zod",
            "@ai-sdk/openai", "@ai-sdk/anthropic", "@ai-sdk/google", "@ai-sdk/openai-compatible",
        ),
        _npm("claude-code", "agents/claude_code.py", "@anthropic-ai/claude-code"),
        _npm("codex", "agents/codex.py", "@openai/codex"),
        _npm("gemini-cli", "agents/gemini_cli.py", "@google/gemini-cli"),
        _npm("opencode", "agents/opencode.py", "opencode-ai"),
    )
}  # fmt: skip

CHECKS = {
    "whole": "a whole reply",
    "stream": "a streamed reply",
    "tools": "a tool call, its result, the answer",
    "tools_streamed": "two tool calls in a stream",
    "tools_automatic": "tools that the client runs by itself",
    "session": "a session with the agent's own tools",
    "vision": "an image",
    "structured": "a reply of a schema, parsed by the client",
    "turns": "a conversation of several turns",
    "stored_turns": "a conversation that the server keeps",
    "reasoning": "reasoning asked for, and sent back where the client does so",
    "retry": "a 429 with `retry-after`, waited for and tried again by the client",
    "wrong_key": "401 as the client's own exception",
    "unknown_model": "404 as the client's own exception",
    "bad_request": "400 as the client's own exception",
    "count": "tokens counted",
    "models": "models listed",
    "embeddings": "embeddings",
}
"""All checks, in the order of the page."""
