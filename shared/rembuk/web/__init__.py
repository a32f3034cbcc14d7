"""What every service's HTTP face shares: problem details, idempotency, health, the events feed, the application."""
