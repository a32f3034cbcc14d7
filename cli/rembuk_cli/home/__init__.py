"""The directory of a region, or of the hub: its files, keys and certificates, and what runs there."""
