"""Every test may ask for the real PostgreSQL and the real nats-server."""

pytest_plugins = ["rembuk.testing.servers", "rembuk.testing.services"]
