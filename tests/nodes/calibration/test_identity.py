"""What makes two calibrations the same: a journal is used again for the same inputs only."""

import copy

import torch


def digest(value):
    from psa_pack.nodes.calibration.identity import digest

    return digest(value)


def control(seed=0, **settings):
    """One of ComfyUI's own, with weights of its own."""
    import comfy.controlnet

    torch.manual_seed(seed)
    made = comfy.controlnet.ControlNet(torch.nn.Linear(4, 4))
    hint = settings.pop("hint", torch.ones(1, 3, 8, 8))
    made.set_cond_hint(hint, settings.pop("strength", 1.0), settings.pop("range", (0.0, 1.0)))
    made.set_previous_controlnet(settings.pop("before", None))
    made.extra_args = settings.pop("extra", {})
    assert not settings
    return made


def test_nested_tensors_are_looked_into():
    from comfy.nested_tensor import NestedTensor

    video, audio = torch.zeros(1, 4, 2, 2), torch.zeros(1, 2)
    packed = digest(NestedTensor([video, audio]))
    assert packed == digest(NestedTensor([video + 0, audio + 0]))
    others = [
        NestedTensor([video, audio + 1]), NestedTensor([video, torch.zeros(1, 3)]),
        NestedTensor([video + 1, audio]), NestedTensor([video]), video,
    ]  # fmt: skip
    assert len({packed, *map(digest, others)}) == len(others) + 1


def test_a_controlnet_is_what_is_set_on_it():
    def conditions(**settings):
        return [[torch.zeros(1, 2), {"control": control(**settings)}]]

    plain = digest(conditions())
    assert plain == digest(conditions())  # another object, as after a restart
    others = [
        {"seed": 1}, {"strength": 0.5}, {"hint": torch.zeros(1, 3, 8, 8)}, {"range": (0.0, 0.5)},
        {"before": control()}, {"before": control(strength=0.5)}, {"extra": {"type": [1]}},
    ]  # fmt: skip
    assert len({plain, *(digest(conditions(**other)) for other in others)}) == len(others) + 1


def test_a_clip_vision_output_is_its_tensors():
    from comfy.clip_vision import Output

    def seen(value):
        out = Output()
        out["last_hidden_state"] = torch.full((1, 2), value)
        return {"clip_vision_output": out}

    assert digest(seen(1.0)) == digest(seen(1.0)) != digest(seen(2.0))


def test_an_unknown_object_is_like_no_other():
    import comfy.controlnet
    import comfy.hooks

    hooks = comfy.hooks.HookGroup()
    assert digest({"hooks": hooks}) == digest({"hooks": hooks})
    assert digest({"hooks": hooks}) != digest({"hooks": comfy.hooks.HookGroup()})

    class Advanced(comfy.controlnet.ControlNet):  # a pack's own may hold more than ComfyUI's
        __module__ = "a_pack.control"

    one = control()
    one.__class__ = Advanced
    other = copy.copy(one)
    assert digest(one) == digest(one) != digest(other)

    class Slotted:  # cannot be watched: never the same
        __slots__ = ()

    value = Slotted()
    assert digest(value) != digest(value)


def test_numbers_side_by_side_are_told_apart():
    assert digest([1, 23]) != digest([12, 3])
    assert digest({"a": 1, "b": []}) != digest({"a": 1, "b": None})


def test_a_model_is_the_same_whether_it_is_loaded_or_not(bench):
    """Loading puts LoRAs into the weights: into all of them, or into those that fit on the GPU."""
    import comfy.model_management

    from psa_pack.nodes.calibration.identity import model_identity

    def with_lora(strength):
        model = bench.model.clone()
        key = "diffusion_model.blocks.0.self_attn.q.weight"
        model.add_patches({key: ("diff", (torch.ones(256, 256),))}, strength)
        return model

    model, other = with_lora(0.5), with_lora(0.25)
    known = [model_identity(one) for one in (model, other, bench.model)]
    assert len(set(known)) == 3
    comfy.model_management.load_models_gpu([model])
    assert model.backup
    assert [model_identity(one) for one in (model, other, bench.model)] == known
    comfy.model_management.unload_all_models()
    assert [model_identity(one) for one in (model, other, bench.model)] == known


def test_a_noise_schedule_is_the_same_on_every_device(bench):
    """The last bit of an exponential is not."""
    from psa_pack.nodes.calibration.identity import model_identity

    def shifted(factor):
        model = bench.model.clone()
        own = model.get_model_object("model_sampling")

        class Sampling(type(own)):
            def percent_to_sigma(self, percent):
                return super().percent_to_sigma(percent) * factor

        sampling = Sampling()
        sampling.load_state_dict(own.state_dict())
        model.add_object_patch("model_sampling", sampling)
        return model_identity(model)

    assert shifted(1.0) == shifted(1 + 1e-7) != shifted(1.001)
