"""NATS: connections, how events look there, and the quick ways of reading and writing them."""
