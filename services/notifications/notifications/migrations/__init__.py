"""The shape of the database of `notifications`, step by step."""
