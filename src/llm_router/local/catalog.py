"""The local model in the catalogue: a provider, a model, and a price that is a real zero."""

from __future__ import annotations

from llm_router.domain.model import Capabilities, Deployment, Model, Provider
from llm_router.domain.price import Price, Rates
from llm_router.local.handshake import Ready

PROVIDER_ID = "local"
ALIAS = "local"
PRICE = Price(version="local-0", rates=Rates(input=0, output=0), source="this machine")
"""Nobody is paid for it: not unknown, but nothing."""


def entries(
    *, model_id: str, base_url: str, ready: Ready, default: bool, output_tokens_max: int
) -> tuple[Provider, Model]:
    """Provider and model of a running local server.

    Args:
        ready: what the server said of itself; capabilities come from it.
        default: it is the project's default model, whose origin is known.
    """
    provider = Provider(
        id=PROVIDER_ID,
        name="This machine",
        base_url=base_url,
        dialect="openai_chat",
        auth="bearer",
        key_required=False,
        docs_url="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    )
    capabilities = Capabilities(
        input_modalities=("text", "image") if ready.vision else ("text",),
        tools=ready.tools,
        parallel_tools=ready.parallel_tools,
        json_object=True,  # llama.cpp holds any model to a grammar
        json_schema=True,
    )
    deployment = Deployment(
        id=f"{PROVIDER_ID}/{model_id}",
        model=model_id,
        provider=PROVIDER_ID,
        upstream_model=model_id,
        price=PRICE,
        capabilities=capabilities,  # what the server said is certain: what it does not take is refused
        context_tokens=ready.context_tokens,
        output_tokens_max=output_tokens_max,
    )
    model = Model(
        id=model_id,
        name="SmolLM2 135M Instruct" if default else model_id,
        family="SmolLM" if default else "Local",
        developer="Hugging Face" if default else "unknown",
        capabilities=capabilities,
        deployments=(deployment,),
        aliases=(ALIAS, f"{PROVIDER_ID}/{model_id}") if model_id != ALIAS else (),
        context_tokens=ready.context_tokens,
        output_tokens_max=output_tokens_max,
        open_weights=True,
        quality_tier=1,
    )
    return provider, model
