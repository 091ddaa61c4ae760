"""A small catalogue, and a way to load a configuration over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from llm_router.domain.model import Capabilities, Deployment, Model, Provider, Quirk
from llm_router.domain.price import Price, Rates, Tier
from llm_router.settings import ConfigError, ServeOptions, Settings, load

PRICE = Price(
    version="v1",
    rates=Rates(input=250_000, output=2_000_000, cache_read=25_000),
    tiers=(Tier(above_prompt_tokens=200_000, rates=Rates(input=500_000, output=4_000_000)),),
)


class SmallCatalog(msgspec.Struct, frozen=True):
    providers: Mapping[str, Provider]
    models: Mapping[str, Model]


def _provider(id_: str, **options: object) -> Provider:
    return Provider(id=id_, name=id_.title(), **options)  # type: ignore[arg-type]


def _deployment(provider: str, model: str) -> Deployment:
    return Deployment(
        id=f"{provider}/{model}",
        model=model,
        provider=provider,
        upstream_model=f"up-{model}",
        price=PRICE,
        context_tokens=400_000,
        output_tokens_max=128_000,
    )


def _model(id_: str, *providers: str, aliases: tuple[str, ...] = ()) -> Model:
    return Model(
        id=id_,
        name=id_.upper(),
        family="GPT",
        developer="OpenAI",
        capabilities=Capabilities(tools=True, input_modalities=("text", "image")),
        deployments=tuple(_deployment(provider, id_) for provider in providers),
        aliases=aliases,
        context_tokens=400_000,
        output_tokens_max=128_000,
    )


@pytest.fixture
def catalog() -> SmallCatalog:
    providers = (
        _provider(
            "openai",
            base_url="https://api.openai.test/v1",
            env=("OPENAI_API_KEY",),
            headers={"x-client": "router"},
            quirks=(Quirk(edit="drop", field="top_k", why="unknown there"),),
            takes_urls=("image",),
        ),
        _provider(
            "anthropic",
            base_url="https://api.anthropic.test",
            dialect="anthropic_messages",
            auth="header",
            auth_name="x-api-key",
            env=("ANTHROPIC_API_KEY", "CLAUDE_API_KEY"),
        ),
        _provider("groq", base_url="https://api.groq.test/v1", env=("GROQ_API_KEY",)),
        _provider("azure", base_url="{env:AZURE_ENDPOINT}/openai/v1", env=("AZURE_API_KEY",)),
        _provider("ollama", base_url="http://127.0.0.1:11434/v1", key_required=False, env=()),
    )
    models = (
        _model("gpt-5", "openai", "azure", aliases=("gpt-5-2025-08-07",)),
        _model("gpt-5-mini", "openai"),
    )
    return SmallCatalog({p.id: p for p in providers}, {m.id: m for m in models})


Loader = Callable[..., Settings]


@pytest.fixture
def load_text(tmp_path: Path, catalog: SmallCatalog) -> Loader:
    """Load a configuration from its text; the environment holds what is given and HOME."""

    def load_it(
        text: str, environ: Mapping[str, str] | None = None, *, options: ServeOptions | None = None
    ) -> Settings:
        path = tmp_path / "router.toml"
        path.write_text(text)
        variables = {"HOME": "/home/op", **(environ or {})}
        return load(path, variables, catalog, options=options or ServeOptions())

    return load_it


@pytest.fixture
def problems_of(load_text: Loader, tmp_path: Path) -> Callable[..., list[str]]:
    """The problems of a configuration, without the name of its file."""

    def problems(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_text(text, environ)
        prefix = f"{tmp_path / 'router.toml'}: "
        assert all(p.startswith((prefix, "environment: ")) for p in caught.value.problems)
        return [problem.removeprefix(prefix) for problem in caught.value.problems]

    return problems
