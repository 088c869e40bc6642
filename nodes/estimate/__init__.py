"""What a preset does to a video of a given size: how much is computed, how much faster that is.

Nothing here is guessed: a figure comes from arithmetic, from a table with its source, or is None
with the reason.
"""
