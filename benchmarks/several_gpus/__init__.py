"""Wan 14B on several GPUs: on paper, and measured with diffusers' Ulysses."""
