"""What decides in a run, without knowing its host."""
