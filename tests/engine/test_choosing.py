"""Exchanges whose plan spans several models, and what they say to the gateway."""

from __future__ import annotations
