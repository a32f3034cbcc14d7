"""Run one process of the service: `python -m forums api | worker | migrate`."""

from rembuk.main import main

main("forums")
