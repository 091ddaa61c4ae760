"""Frozen data, integers and one error tree. Imports nothing of the project."""
