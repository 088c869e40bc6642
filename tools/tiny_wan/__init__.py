"""A small video model in Wan 2.1's layout, trained on procedural clips.

`python -m tools.tiny_wan` trains it, samples from it and looks at it.

`random_weights` is a separate model without training, for tests that need any Wan at all.
"""
