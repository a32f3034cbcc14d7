"""The log of a service: how a wish becomes events in it, and how they reach the stream."""
