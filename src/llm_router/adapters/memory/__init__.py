"""Stores that live in this process only."""
