"""Parts of ``build_catalog.py``: read the sources and the overlay, settle them, write the data."""
