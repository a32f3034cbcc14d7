"""What is due leaves: by lane and severity, at a pace that each contact bears, and until it is settled. A contact that
nobody confirms is forgotten."""
