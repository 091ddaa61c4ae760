"""A small real language model on this machine's CPU, served by llama.cpp in a child process."""

from llm_router.local.fetch import DEFAULT_FILE, find_model, pull
from llm_router.local.model import LocalModel, start_local
from llm_router.local.problems import LocalUnavailable

__all__ = ["DEFAULT_FILE", "LocalModel", "LocalUnavailable", "find_model", "pull", "start_local"]
