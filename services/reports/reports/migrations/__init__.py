"""The shape of the database of `reports`, step by step."""
