"""What notifications alone does of an operator's errands: it sends what was given up once more."""

from notifications.delivery.requeueing import requeue

__all__ = ["requeue"]
