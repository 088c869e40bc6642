"""What a preset does to a video of a given size: how much is computed, how much faster that is.

A figure is counted, or rests on calls that were timed on this machine; else it is None with the
reason.
"""
