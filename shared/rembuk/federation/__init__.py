"""A region and its hub: who is admitted, what is fetched from there, what other regions say."""
