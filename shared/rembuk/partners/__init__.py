"""Other systems that read what a region publishes: who they are, what they see, and how it reaches them."""
