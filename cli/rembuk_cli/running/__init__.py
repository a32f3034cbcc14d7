"""A region, or the hub, from its start to its stop."""
