"""Witnesses: vouching for the logs of others, and having others vouch for ours."""
