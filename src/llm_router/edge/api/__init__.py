"""The API of accounts and administration: everything under /api/v1."""
