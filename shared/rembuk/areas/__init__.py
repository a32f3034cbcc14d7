"""The administrative areas of Indonesia, and how they are searched."""
