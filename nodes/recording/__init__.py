"""What a run did, written down while it lasts without making it wait."""
