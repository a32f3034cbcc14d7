"""Tools for tests of anything built on Rembuk, shipped with it."""
