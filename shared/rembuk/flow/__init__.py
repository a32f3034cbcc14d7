"""Following streams: checkpoints, projections, reactions, and what is set aside."""
