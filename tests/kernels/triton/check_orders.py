"""The kernels' k-means against plain torch, a round at a time.

Whole runs are not compared: a token as near to two centroids may go to either, and rounds after it
then differ. So each kernel is held against float64 on the same centroids.
"""

from __future__ import annotations

import torch

from psa_kernels.reference import reorder


def check_orders(q, k, orders, state, layout, config):
    """`state`: what k-means left behind."""
    if config.order not in ("SemanticAware", "Hybrid") or layout.q_video == 0:
        return
    from psa_kernels.triton import clusters

    def checked(x, name, layout, blocks, state):
        video = x[:, :, layout.before : x.shape[2] - layout.after]
        centroids = state.centroids(name, layout, torch.float32, x.device)
        labels = check_nearest(clusters, video, centroids)
        check_means(clusters, video, labels, centroids)
        return labels

    wanted = reorder(q, k, layout, config, state, clusters_of=checked)
    assert torch.equal(orders.q, wanted.q) and torch.equal(orders.k, wanted.k)


def check_nearest(clusters, video, centroids):
    """A chosen cluster is no further away than the nearest one, up to float32's rounding."""
    labels = clusters._nearest(video, centroids).long()
    tokens, exact = video.double(), centroids.double()
    products = tokens @ exact.transpose(-1, -2)
    scores = products - exact.square().sum(-1)[..., None, :] / 2
    chosen = scores.gather(-1, labels[..., None])[..., 0]
    size = tokens.norm(dim=-1) * exact.norm(dim=-1).amax(-1, keepdim=True)
    size += exact.square().sum(-1).amax(-1, keepdim=True)
    assert (scores.amax(-1) - chosen <= 2**-14 * size).all()
    return labels


def check_means(clusters, video, labels, centroids):
    found = clusters._moved(video, labels.int(), centroids)
    members = torch.nn.functional.one_hot(labels, centroids.shape[2]).double()
    counts = members.sum(-2)[..., None]
    means = members.transpose(-1, -2) @ video.double() / counts.clamp(min=1)
    wanted = torch.where(counts > 0, means, centroids.double())
    near = 1e-5 * video.double().abs().amax().item()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=near)
