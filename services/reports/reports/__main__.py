"""Run one process of the service: `python -m reports api | worker | migrate`."""

from rembuk.main import main

main("reports")
