"""The language services speak with each other and with the world: every event, by the service that publishes it."""
