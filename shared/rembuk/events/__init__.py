"""What an event is, how it is decided and written, and what people may write into it."""
