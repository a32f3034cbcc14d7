"""Who is told what, and proof that they were: subscriptions, alerts, deliveries."""
