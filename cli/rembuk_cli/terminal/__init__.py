"""What all commands ask and answer in the same way, and how it is written."""
