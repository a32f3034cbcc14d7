"""What the demo plays: a story, simulated reports, and who receives and watches what comes of them."""
