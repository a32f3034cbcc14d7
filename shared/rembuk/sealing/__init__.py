"""Personal data: sealed under a key per person, shown with a reason, erased with its key."""
