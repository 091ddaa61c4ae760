"""LLM Router: one key and one API for 70+ language models."""

__version__ = "0.1.0"
