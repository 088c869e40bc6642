"""Putting PSA on a model, for one sampler run at a time and without touching anything global."""
