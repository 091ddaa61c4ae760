"""LLM Router client: one file, standard library only."""
