"""The kernel of Rembuk: the log, the flow of events, and what every service builds on. Knows no service."""
