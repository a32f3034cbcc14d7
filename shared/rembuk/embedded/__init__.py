"""The real servers as child processes, and a region run on one machine."""
