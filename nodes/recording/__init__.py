"""Records what a run does, without making it wait."""
