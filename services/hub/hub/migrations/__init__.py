"""The shape of the database of `hub`, step by step."""
