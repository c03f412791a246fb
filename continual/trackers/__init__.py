"""Read-only observers of a run: what it retains, how far its language drifts."""
