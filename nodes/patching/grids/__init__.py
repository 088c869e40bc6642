"""Where each ComfyUI model keeps its video tokens: the grid, and the extra tokens around it.

One file a model family, each with functions that read one model call and say how its self-attention
sequence is laid out; table.py says which function reads which model class. A model that is not
in the table has an unknown layout and stays dense.
"""

from .contradictions import contradictions
from .model_call import ModelCall
from .table import token_grid

__all__ = ["ModelCall", "contradictions", "token_grid"]
