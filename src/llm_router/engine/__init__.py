"""The journey of an exchange: admit, plan, attempt, settle, record. Start reading at exchange.py."""
