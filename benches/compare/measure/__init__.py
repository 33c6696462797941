"""The side-by-side benchmark: one module per concern, `rounds.py` ties them together."""
