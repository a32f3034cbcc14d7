"""Run one process of the service: `python -m notifications api | worker | migrate`."""

from rembuk.main import main

main("notifications")
