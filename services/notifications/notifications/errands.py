"""What notifications alone does of an operator's errands: it lists deliveries, and sends again what was given up."""

from notifications.delivery.requeueing import listed as deliveries
from notifications.delivery.requeueing import requeue

__all__ = ["deliveries", "requeue"]
