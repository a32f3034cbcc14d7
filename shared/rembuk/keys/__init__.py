"""Secret keys: where they are had from, and what they wrap."""
