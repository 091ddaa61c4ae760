"""Black-box checks of a language model API, by its bytes on the wire. Start reading at :func:`run`.

This package knows nothing of the gateway: it imports only the standard library, so that it judges
LLM Router as it judges any other gateway or provider.
"""

from llm_router.conformance.case import Check, Severity, Verdict
from llm_router.conformance.catalog import ALL_CHECKS, APIS
from llm_router.conformance.choose import Unreachable
from llm_router.conformance.report import as_json, render
from llm_router.conformance.runner import Options, Report, Result, run, select

__all__ = [
    "ALL_CHECKS",
    "APIS",
    "Check",
    "Options",
    "Report",
    "Result",
    "Severity",
    "Unreachable",
    "Verdict",
    "as_json",
    "render",
    "run",
    "select",
]
