"""The shape of the database of `forums`, step by step."""
