"""Section 3b written out, in float64, to test implementations against: which tokens of a block are
pooled together. As the oracle, it shares no code with psa_kernels."""

import numpy as np

from .token_blocks import blocks_of

ROUNDS = 4  # of power iteration


def places(q, k, v, n, k_order, extra, finest):
    """[B][kv head] -> the tokens of all whole blocks of n, by their places in their block, which
    are cut into sets of `finest`.

    q `[B, H, Lq, D]`, k and v `[B, Hkv, Lk, D]`; `k_order[b][kv head]`: the order of the keys.
    """
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    shared = q.shape[1] // k.shape[1]
    found = []
    for b in range(len(k)):
        found.append([])
        for head in range(k.shape[1]):
            video, _ = blocks_of(k_order[b][head], k.shape[2], *extra, n)
            whole = [block for block in video if len(block) == n]
            queries = q[b, head * shared : (head + 1) * shared, extra[0] : q.shape[2] - extra[1]]
            own = features(queries, k[b, head], v[b, head], whole)
            found[b].append([place for x in own for place in bisected(x, finest)])
    return found


def features(queries, k, v, blocks):
    """A matrix [tokens, 2 D] for each block: what tells how like two tokens are.

    queries [heads, tokens, D]; k and v [tokens, D]; blocks: positions in those.
    """
    rms = np.sqrt(np.square(queries).mean(axis=(0, 1)))
    halves = []
    for x in (k * rms, v):
        off = [x[block] - x[block].mean(axis=0) for block in blocks]
        size = np.sqrt(np.mean(np.square(off))) if off else 0.0
        halves.append([x[block] / (size if size > 0 else 1.0) for block in blocks])
    return [np.concatenate(pair, axis=1) for pair in zip(*halves, strict=True)]


def bisected(x, finest):
    """The rows of `x` [tokens, F] as a list of numbers, like ones together."""

    def leaves(members):
        if len(members) <= finest:
            return members
        along = places_along(x[members] - x[members].mean(axis=0))
        ranked = sorted(range(len(members)), key=lambda i: (along[i], i))
        members = [members[i] for i in ranked]
        half = len(members) // 2
        return leaves(members[:half]) + leaves(members[half:])

    return leaves(list(range(len(x))))


def places_along(deviations):
    """Where the members of a set lie along the direction to cut across: that of rounds of power
    iteration from the member farthest from the mean."""
    start = deviations[np.square(deviations).sum(axis=1).argmax()]
    products = deviations.T @ deviations
    direction = np.linalg.matrix_power(products / max(np.trace(products), 1e-300), ROUNDS) @ start
    length = np.linalg.norm(direction)
    return deviations @ direction / length if length > 0 else np.zeros(len(deviations))


def channel_weights(queries):
    """[D]: how much each channel counts for the queries [heads, tokens, D]; the mean is 1."""
    squares = np.square(queries).reshape(-1, queries.shape[-1])
    total = squares.sum()
    if total == 0:  # also where there are no queries
        return np.ones(queries.shape[-1])
    return squares.sum(axis=0) / total * queries.shape[-1]
