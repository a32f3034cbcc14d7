"""What may happen: to a subscription, to an alert, to a delivery. Pure: no clock, no database, no network."""

from notifications.domain.alert import ALERT, RECIPIENTS
from notifications.domain.delivery import DELIVERY, delivery_id
from notifications.domain.subscription import SUBSCRIPTION, one_of_each_contact, reaches
from notifications.domain.words import area_and_above

__all__ = [
    "ALERT", "DELIVERY", "RECIPIENTS", "SUBSCRIPTION", "area_and_above", "delivery_id", "one_of_each_contact",
    "reaches",
]  # fmt: skip
