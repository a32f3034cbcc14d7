"""Run one process of the service: `python -m hub api | worker | migrate`."""

from rembuk.main import main

main("hub")
