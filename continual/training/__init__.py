"""The loop, its settings, and the state that makes a run continue exactly where it stopped."""
