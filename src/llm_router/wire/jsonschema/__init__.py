"""Reduce any JSON Schema to what a provider's dialect of it can say, and report what that loses.

The reduced schema never forbids what the original allows, except where a loss says so: what cannot
be said is left out, reported, and checked by nobody. Total: every JSON value is taken, references
are written out, recursive ones are cut, size and depth are bounded.

Sources: https://json-schema.org/draft/2020-12 and, for Google's subset of OpenAPI 3.0,
https://ai.google.dev/api/caching#Schema.
"""

from llm_router.wire.jsonschema.openapi import from_openapi
from llm_router.wire.jsonschema.reduce import GEMINI_SCHEMA, Subset, reduce_schema

__all__ = ["GEMINI_SCHEMA", "Subset", "from_openapi", "reduce_schema"]
