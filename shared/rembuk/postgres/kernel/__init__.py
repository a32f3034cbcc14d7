"""The tables that the kernel has in the database of every service, as its migrations make them."""
