"""The tables that the kernel has in the database of every service: numbered files, never altered once released."""
