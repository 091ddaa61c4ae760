"""The store of many nodes: one PostgreSQL database, every move of an account under the lock of its row."""
