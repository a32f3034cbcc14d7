"""The hub of the regions: a national read model, how far it is behind each of them, and a witness of their logs."""
