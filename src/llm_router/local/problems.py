"""What can keep the local model from running, each as one sentence that says what to do."""

from __future__ import annotations

from llm_router.domain.errors import GatewayError


class LocalUnavailable(GatewayError):
    """The local model can't be fetched or started."""

    status = 503
    code = "local_unavailable"


def extra_missing() -> LocalUnavailable:
    return LocalUnavailable(
        "The local model needs the package xllamacpp, which is not installed: "
        "run  pip install '.[local]'  in the checkout of LLM Router, or  pip install xllamacpp  elsewhere"
    )
