"""What operators have done to a log, a stream or a read model: rebuild, verify, export, restore, reconcile."""
