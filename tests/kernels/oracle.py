"""Pyramid sparse attention written out token by token, in float64, to test implementations against.

It is slow on purpose. It shares no code with psa_kernels; of a configuration it only reads fields.
Tokens are named by their position in the caller's order throughout: a block or a group is a list of
such positions, so nothing is ever permuted, and nothing has to be put back.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .grouping import channel_weights
from .token_blocks import blocks_of, pieces, raster

LEVELS = (1, 2, 4, 8, 0)
NEVER_READ = -1
# Decisions closer than this to going the other way may differ between two correct programs.
CLOSE = 1e-9


@dataclass
class Answer:
    out: np.ndarray  # [B, H, Lq, D], caller's order
    levels: np.ndarray  # int8 [B, H, query blocks, key blocks], video blocks then extra blocks
    importance: np.ndarray  # [B, H, video query blocks, video key blocks]; 0 where not eligible
    density: float
    per_level: dict
    fragile: bool  # some decision hung on less than CLOSE
    tied: bool  # some number was as close to lying between two steps of int8


def columns_of(rows):
    return [np.array(column) for column in zip(*rows, strict=True)]


# --- one head: q [Lq, D], k and v [Lk, D] ------------------------------------------------------


class Head:
    """`places` and `weights` of section 3b, both None where neighbours are pooled."""

    def __init__(
        self, q, k, v, q_order, k_order, before, after, config, causal, scale, places, weights
    ):
        self.q, self.k, self.v, self.config = q, k, v, config
        self.causal, self.scale = causal, scale
        self.q_video, self.q_extra = blocks_of(q_order, len(q), before, after, config.block_m)
        self.k_video, self.k_extra = blocks_of(k_order, len(k), before, after, config.block_n)
        self.weights = weights
        self.together = list(self.k_video)  # each block, like tokens together
        for j, own in enumerate(pieces(list(places or ()), config.block_n)):
            assert sorted(own) == list(range(config.block_n))
            self.together[j] = [self.k_video[j][place] for place in own]
        self.groups = {}  # those that were asked for
        self.fragile = self.tied = False

    # sections 3, 3b and 6c
    def pooled(self, j, h):
        """[(mean key, mean value, real tokens, spread)] of video block j's groups of h."""
        if (j, h) not in self.groups:
            weighted = self.weights is not None and h < self.config.block_n
            weighted = weighted and len(self.together[j]) == self.config.block_n
            weights = self.weights if weighted else 1.0
            self.groups[j, h] = [self.mean_of(x, weights) for x in pieces(self.together[j], h)]
        return self.groups[j, h]

    def mean_of(self, group, weights):
        key = self.k[group].mean(axis=0)
        spread = (weights * np.square(self.k[group] - key)).mean()  # over tokens and dimensions
        return key, self.v[group].mean(axis=0), len(group), spread

    # section 4
    def logits(self, query, keys, counts, spreads, factor=None):
        """Of one token with many groups; a token of level 1 is a group of count 1 and spread 0.

        `factor`: what keys are multiplied with, if that is not the query itself.
        """
        logits = self.scale * (keys @ (query if factor is None else factor)) + np.log(counts)
        if self.config.second_moment:
            gauss = 0.5 * self.scale**2 * (query @ query) * spreads
            logits += np.minimum(gauss, np.log(counts))
        return logits

    # section 6d
    def in_steps(self, x, peak):
        """`x` in whole steps of `peak` / 127."""
        if peak == 0:
            return np.zeros_like(x)
        steps = x * (127 / peak)
        self.tied |= bool((np.abs(steps - np.floor(steps) - 0.5) < CLOSE).any())
        return np.rint(steps) * (peak / 127)

    def integer_keys(self):
        """(keys `[Lk, D]` on level 1, what a pooled key becomes)."""
        video = [s for block in self.k_video for s in block]
        mean = self.k[video].mean(axis=0) if video else 0.0
        keys = np.zeros_like(self.k)
        for block in self.k_video + self.k_extra:
            own = self.k[block] - mean
            keys[block] = self.in_steps(own, np.abs(own).max())
        sizes = self.readable()
        pooled = [
            entry[0] - mean
            for j in range(len(self.k_video)) for size in sizes for entry in self.pooled(j, size)
        ]  # fmt: skip
        peak = max((np.abs(key).max() for key in pooled), default=0.0)
        return keys, lambda key: self.in_steps(key - mean, peak)

    def readable(self):
        """The sizes that some pair may be pooled by, or that importance reads."""
        config = self.config
        sizes = {x for x in (2, 4, 8) if np.diff(config.mask_ratios.get(x, (0, 0))) > 0}
        if config.use_sim_mask and sizes:
            sizes |= {x for x in (2, 4, 8) if x < max(sizes)}
        sizes |= {8} if config.importance == "sub_block" else set()
        return sizes | ({config.tail} - {"none"})

    # section 9
    def kind(self, rows, block):
        """What causality says of a pair: "free" to take any level, "masked" or "never"."""
        if not self.causal or max(block) < min(rows):
            return "free"
        return "never" if min(block) > max(rows) else "masked"

    # section 5
    def importance(self, rows):
        eligible = [j for j, block in enumerate(self.k_video) if self.kind(rows, block) == "free"]
        if not eligible:
            return eligible, []
        score = self.exact if self.config.importance == "exact" else self.sub_block
        share = score(rows, eligible)
        total = sum(share)
        if total == 0.0:  # extra keys hold all the mass that a float can express
            self.fragile = True
            return eligible, [1 / len(share)] * len(share)
        return eligible, [x / total for x in share]

    def exact(self, rows, blocks):
        share = [0.0] * len(blocks)
        for t in rows:
            seen = t + 1 if self.causal else len(self.k)
            logits = self.scale * (self.k[:seen] @ self.q[t])
            weights = np.exp(logits - logits.max())
            weights /= weights.sum() * len(rows)
            for i, j in enumerate(blocks):
                share[i] += weights[self.k_video[j]].sum()
        return share

    def sub_block(self, rows, blocks):
        share = [0.0] * len(blocks)
        groups = [columns_of(self.pooled(j, 8)) for j in blocks]
        for part in pieces(rows, 16):
            mean = sum(self.q[t] for t in part) / len(part)
            logits = [self.logits(mean, keys, c, s) for keys, _, c, s in groups]
            top = max(row.max() for row in logits)
            mass = [np.exp(row - top).sum() for row in logits]
            for j in range(len(blocks)):
                share[j] += mass[j] / sum(mass) * len(part) / len(rows)
        return share

    # section 6
    def assign(self, share, keeps_others):
        """Levels of one row, before the similarity constraint."""
        ratios = self.config.mask_ratios
        present = [level for level in LEVELS if level in ratios]
        count = len(share)
        ranked = sorted(range(count), key=lambda j: (-share[j], j))
        levels = [None] * count
        if self.config.mask_mode == "topk":
            ends = {level: math.floor(ratios[level][1] * count + 1e-6) for level in present}
            if 1 in ratios and ratios[1][1] > ratios[1][0]:
                ends[1] = max(ends[1], 1)
            for rank, j in enumerate(ranked):
                levels[j] = next(level for level in present if ends[level] > rank)
        else:
            # Rounding may carry the sum up to 1, where no bound is left above it.
            last = [x for x in present if ratios[x][1] > ratios[x][0]][-1]

            def first_above(covered):
                return next((x for x in present if ratios[x][1] > covered), last)

            covered = 0.0
            for j in ranked:
                levels[j] = first_above(covered)
                if covered > 0:
                    self.fragile |= first_above(covered - CLOSE) != first_above(covered + CLOSE)
                covered += share[j]
        for a, b in pairwise(ranked):
            if levels[a] != levels[b]:
                self.fragile |= share[a] - share[b] <= CLOSE * share[a]
        if self.config.tail == "none" and not keeps_others and not any(levels):
            wide = [x for x in present if x and ratios[x][1] > ratios[x][0]]
            levels[ranked[0]] = wide[0]
            if count > 1:
                best, second = share[ranked[0]], share[ranked[1]]
                self.fragile |= best - second <= CLOSE * best
        return levels

    # section 8
    def allowed(self, block):
        """The coarsest level that the similarity constraint leaves to a key block."""
        best = 1
        for x, threshold in (
            (2, self.config.sim_2x_threshold),
            (4, self.config.sim_4x_threshold),
            (8, self.config.sim_8x_threshold),
        ):
            cosines = [self.cosine(group) for group in pieces(block, x)]
            mean = sum(cosines) / len(cosines)
            self.fragile |= abs(mean - threshold) < CLOSE
            if mean > threshold:
                best = x
        return best

    def cosine(self, group):
        if len(group) == 1:
            return 1.0
        first, last = self.k[group[0]], self.k[group[-1]]
        norms = math.sqrt(first @ first) * math.sqrt(last @ last)
        return float(first @ last) / norms if norms > 0 else 0.0

    def all_levels(self):
        """(levels of every pair, importance of every video row)"""
        rows = len(self.q_video) + len(self.q_extra)
        columns = len(self.k_video) + len(self.k_extra)
        levels = np.ones((rows, columns), dtype=np.int8)
        importance = np.zeros((len(self.q_video), len(self.k_video)))
        caps = [self.allowed(b) if self.config.use_sim_mask else 8 for b in self.k_video]
        for i, tokens in enumerate(self.q_video):
            eligible, share = self.importance(tokens)
            importance[i, eligible] = share
            others = self.k_extra or any(self.kind(tokens, b) == "masked" for b in self.k_video)
            assigned = self.assign(share, keeps_others=bool(others)) if share else []
            for j, level in zip(eligible, assigned, strict=True):
                levels[i, j] = min(level, caps[j])  # level 0 stays 0
            for j, block in enumerate(self.k_video):
                if self.kind(tokens, block) == "never":
                    levels[i, j] = NEVER_READ
        return levels, importance

    def attend(self, levels):
        """(output [Lq, D], query-key products computed) under the given levels."""
        out, products = np.zeros_like(self.q), 0
        k_blocks = self.k_video + self.k_extra
        int8 = self.config.qk == "int8"
        single, pooled_key = self.integer_keys() if int8 else (self.k, lambda key: key)
        for i, tokens in enumerate(self.q_video + self.q_extra):
            entries = []  # (key, value, count, spread, position or -1)
            for j, block in enumerate(k_blocks):
                level = int(levels[i, j])
                if level == 0 and self.config.tail != "none":
                    level = self.config.tail
                if level == 1:
                    entries += [(single[s], self.v[s], 1, 0.0, s) for s in block]
                elif level > 1:
                    groups = self.pooled(j, level)
                    entries += [(pooled_key(key), *rest, -1) for key, *rest in groups]
            *groups, positions = columns_of(entries)
            for t in tokens:
                keys, values, counts, spreads = groups
                if self.causal:
                    seen = positions <= t
                    keys, values, counts, spreads = (column[seen] for column in groups)
                query = self.q[t]
                factor = self.in_steps(query, np.abs(query).max()) if int8 else query
                logits = self.logits(query, keys, counts, spreads, factor)
                weights = np.exp(logits - logits.max())
                out[t] = weights @ values / weights.sum()
                products += len(logits)
        return out, products


# --- all heads -------------------------------------------------------------------------------


def answer(
    q, k, v, config, *, q_order=None, k_order=None, extra=(0, 0), causal=False, scale=None,
    levels=None, places=None,
):  # fmt: skip
    """Everything that PSA computes for numpy arrays q `[B, H, Lq, D]`, k and v `[B, Hkv, Lk, D]`.

    `q_order[b][h]`, `k_order[b][kv head]`: the token orders, raster where None. With `levels` (as
    in `Answer`) those are obeyed instead of assigned. `places[b][kv head]`: which tokens of each
    whole block are pooled together, by their places in it (section 3b; `grouping.py` works them
    out); it is given where the configuration groups like tokens.
    """
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    batch, heads, q_len, dim = q.shape
    kv_heads, k_len = k.shape[1], k.shape[2]
    out, all_levels, importance = np.zeros_like(q), [], []
    products, fragile, tied = 0, False, False
    similar = config.grouping == "similar"
    assert similar == (places is not None)
    shared = heads // kv_heads
    for b in range(batch):
        for h in range(heads):
            kv = h // shared
            asking = q[b, kv * shared : (kv + 1) * shared, extra[0] : q_len - extra[1]]
            head = Head(
                q[b, h], k[b, kv], v[b, kv],
                raster(q_len - sum(extra)) if q_order is None else q_order[b][h],
                raster(k_len - sum(extra)) if k_order is None else k_order[b][kv],
                *extra, config, causal, dim**-0.5 if scale is None else scale,
                places[b][kv] if similar else None, channel_weights(asking) if similar else None,
            )  # fmt: skip
            if levels is None:
                own, shares = head.all_levels()
                importance.append(shares)
            else:
                own = levels[b][h]
            out[b, h], done = head.attend(own)
            products += done
            fragile |= head.fragile
            tied |= head.tied
            all_levels.append(own)
    dense = q_len * (q_len + 1) // 2 if causal else q_len * k_len
    video = [own[: len(head.q_video), : len(head.k_video)] for own in all_levels]
    read = [int(level) for own in video for level in own.flat if level != NEVER_READ]
    return Answer(
        out,
        np.array(all_levels, dtype=np.int8).reshape(batch, heads, *all_levels[0].shape),
        np.array(importance).reshape(batch, heads, len(head.q_video), -1),
        products / (batch * heads * dense),
        {level: read.count(level) / max(len(read), 1) for level in LEVELS},
        bool(fragile),
        tied,
    )
