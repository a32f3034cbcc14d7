"""What a region that runs is asked: its services, databases, NATS, logs and keys."""
