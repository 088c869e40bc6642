"""What a run of PSA leaves in memory: nothing."""

import gc

import torch


def left_behind():
    """Objects of ours that only a run may have."""
    from psa_kernels import OrderState, Stats
    from psa_kernels.stages import Groups
    from psa_pack.nodes.patching.override import AttentionOverride
    from psa_pack.nodes.patching.run import Run

    gc.collect()
    kinds = {Run, AttentionOverride, OrderState, Groups, Stats}
    return [x for x in gc.get_objects() if type(x) in kinds]


def tensors_alive():
    gc.collect()
    return sum(type(x) is torch.Tensor for x in gc.get_objects())
