"""The same work done by Rembuk and by its peers, in one run on the same servers; never a test."""
