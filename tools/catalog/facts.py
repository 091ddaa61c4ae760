"""Capabilities, limits and dates of a model: the overlay's word first, then the litellm table's."""

from __future__ import annotations

from typing import Any, Literal

from catalog.genai import GenaiPrices
from catalog.litellm_table import LitellmTable
from catalog.overlay import DeveloperText, ModelText, Overlay, Sources
from llm_router.catalog.schema import DeploymentRow, ModelRow
from llm_router.domain.model import Capabilities

Row = dict[str, Any]

_MODALITIES = (
    ("image", ("supports_vision", "supports_image_input")),
    ("audio", ("supports_audio_input",)),
    ("video", ("supports_video_input",)),
    ("file", ("supports_pdf_input",)),
)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_ALWAYS = frozenset({"low", "medium", "high"})
_GRADED = {"openai": "supports_reasoning", "anthropic": "supports_adaptive_thinking"}
"""At whose models a flag of the table means that low, medium and high are taken. Claude models
without adaptive thinking take a budget of tokens instead and have no levels."""


class Facts:
    """Reads what the sources say about models and their deployments."""

    def __init__(self, overlay: Overlay, genai: GenaiPrices, litellm: LitellmTable) -> None:
        self._overlay = overlay
        self._genai = genai
        self._litellm = litellm

    def model_row(self, id_: str, dev: DeveloperText, text: ModelText) -> ModelRow:
        order = self._overlay.catalogue.providers
        hosts = sorted(text.at, key=lambda host: (host != dev.home, order.index(host)))
        rows = {host: self._row(host, text.at[host]) or {} for host in hosts}
        first = (
            rows.get(dev.home or "", {}) or self._further(text) or next((r for r in rows.values() if r), {})
        )
        pool = [first] if first is rows.get(dev.home or "") else [*rows.values(), first]
        context = text.context_tokens or self._context(text, hosts, first)
        output = text.output_tokens_max or _output_max(first, context)
        home = rows.get(dev.home or "", {})
        shutdown = text.shutdown or (None if text.earliest_shutdown_only else home.get("deprecation_date"))
        capabilities = _capabilities(text, dev, first, pool)
        return ModelRow(
            id=id_,
            name=text.name,
            family=text.family or dev.family,
            developer=dev.developer,
            slugs=dev.slugs,
            capabilities=capabilities,
            deployments=tuple(
                self._deployment(h, dev, text, rows[h], context, output, shutdown, capabilities)
                for h in hosts
            ),
            aliases=text.aliases,
            context_tokens=context,
            output_tokens_max=output,
            preview=text.preview,
            released=text.released,
            deprecated=text.deprecated,
            shutdown=shutdown,
            successor=text.successor,
            open_weights=text.open_weights,
            quality_tier=text.tier,
            strengths=text.strengths,
            operations=text.operations,
        )

    def _sources(self, host: str) -> Sources:
        return self._overlay.providers[host].sources

    def _row(self, host: str, upstream: str) -> Row | None:
        return self._litellm.row(litellm_keys(self._sources(host), upstream))

    def _further(self, text: ModelText) -> Row | None:
        return self._litellm.row([text.facts_of]) if text.facts_of else None

    def _context(self, text: ModelText, hosts: list[str], first: Row) -> int | None:
        """The larger of both sources: one states the window, the other often only its input part."""
        known = [first.get("max_input_tokens")]
        for host in hosts:
            genai = self._sources(host).genai
            if genai is not None and (known[0] is None or host == hosts[0]):
                known.append(self._genai.context_tokens(genai, text.at[host]))
        return max((int(k) for k in known if k is not None), default=None)

    def _deployment(
        self,
        host: str,
        dev: DeveloperText,
        text: ModelText,
        row: Row,
        context: int | None,
        output: int | None,
        shutdown: str | None,
        capabilities: Capabilities,
    ) -> DeploymentRow:
        """What differs at this host: smaller limits, an end of its own, its names of snapshots."""
        own_context = row.get("max_input_tokens")
        own_output = _output_max(row, context)
        ends = None if text.earliest_shutdown_only else row.get("deprecation_date")
        if ends is None and not text.open_weights:
            ends = shutdown  # closed weights end everywhere, unless the host has a date of its own
        smaller = own_context is not None and context is not None and own_context < 0.9 * context
        return DeploymentRow(
            provider=host,
            dialect=text.dialect_at.get(host),
            upstream_model=text.at[host],
            dated=self._dated(host, dev, text),
            context_tokens=int(own_context) if smaller and own_context is not None else None,
            output_tokens_max=own_output if own_output and output and own_output < output else None,
            lacks=self._lacks(host, text, row, capabilities),
            shutdown=ends,
        )

    def _lacks(
        self, host: str, text: ModelText, row: Row, capabilities: Capabilities
    ) -> tuple[Literal["tools", "json_schema"], ...]:
        lacks: list[Literal["tools", "json_schema"]] = ["tools"] if host in text.no_tools_at else []
        flag = self._sources(host).json_schema
        if flag is not None and capabilities.json_schema and row.get(flag) is not True:
            lacks.append("json_schema")
        return tuple(lacks)

    def _dated(self, host: str, dev: DeveloperText, text: ModelText) -> dict[str, str]:
        """The developer's own provider knows its snapshots by name; elsewhere names are the host's own."""
        return {alias: alias for alias in text.dated} if host == dev.home else {}


def litellm_keys(sources: Sources, upstream: str) -> list[str]:
    return [prefix + upstream for prefix in sources.litellm]


def _output_max(row: Row, context: int | None) -> int | None:
    """The stated limit; a limit as large as the window is none."""
    stated = row.get("max_output_tokens")
    if stated is None or (context is not None and int(stated) >= 0.9 * context):
        return None
    return int(stated)


_EMBEDS = Capabilities(output_modalities=("embedding",), sampling=False, streaming=False)
"""Of models that embed text. Some embed pictures too, but no usage of ours prices those."""


def _capabilities(text: ModelText, dev: DeveloperText, first: Row, pool: list[Row]) -> Capabilities:
    if text.operations == ("embed",):
        return _EMBEDS

    def told(word: bool | None, *names: str) -> bool:
        return word if word is not None else any(row.get(name) is True for row in pool for name in names)

    seen = tuple(form for form, names in _MODALITIES if told(None, *names))
    tools = told(text.tools, "supports_function_calling")
    schema = told(text.json_schema, "supports_response_schema")
    reasoning = told(text.reasoning, "supports_reasoning")
    said_object = text.json_object if text.json_object is not None else dev.json_object
    return Capabilities(
        input_modalities=text.input or ("text", *seen),
        output_modalities=text.output or ("text",),
        tools=tools,
        parallel_tools=tools if text.parallel_tools is None else text.parallel_tools,
        json_object=(tools or schema) if said_object is None else said_object,
        json_schema=schema,
        reasoning=reasoning,
        reasoning_levels=_levels(text, dev, first, pool) if reasoning else (),
        sampling=first.get("supports_sampling_params") is not False
        if text.sampling is None
        else text.sampling,
    )


def _levels(text: ModelText, dev: DeveloperText, first: Row, pool: list[Row]) -> tuple[str, ...]:
    if text.reasoning_levels is not None:
        return text.reasoning_levels
    listed = [row["reasoning_effort_levels"] for row in pool if row.get("reasoning_effort_levels")]
    if listed:
        return tuple(e for e in _EFFORTS if e in listed[0])
    flag = _GRADED.get(dev.home or "")
    if flag is None or dev.home not in text.at or first.get(flag) is not True:
        return ()
    return tuple(e for e in _EFFORTS if e in _ALWAYS or first.get(f"supports_{e}_reasoning_effort") is True)
