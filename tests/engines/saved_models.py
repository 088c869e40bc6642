"""Whole pipelines and models with tiny random weights, tokenizers too, saved to a folder."""

import string


def save_cogvideox(folder):
    """A CogVideoX of the 5B's depth, by which its preset family is known."""
    import diffusers
    import transformers

    pipeline = diffusers.CogVideoXPipeline(
        tokenizer=_t5_tokenizer(transformers),
        text_encoder=transformers.T5EncoderModel(transformers.T5Config(
            vocab_size=64, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2
        )),
        vae=diffusers.AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4, block_out_channels=(4, 4, 4, 4),
            latent_channels=4, layers_per_block=1, norm_num_groups=2,
        ),
        transformer=diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=1, attention_head_dim=32, in_channels=4, out_channels=4,
            time_embed_dim=8, text_embed_dim=16, num_layers=42, sample_width=24, sample_height=16,
            sample_frames=9, use_rotary_positional_embeddings=True,
        ),
        scheduler=diffusers.CogVideoXDDIMScheduler(),
    )  # fmt: skip
    pipeline.save_pretrained(folder)


def _t5_tokenizer(transformers):
    letters = [(letter, -2.0) for letter in string.ascii_lowercase]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    return transformers.T5Tokenizer(vocab=special + letters, extra_ids=0)


def save_qwen(folder):
    """A Qwen2.5-VL with its processor: pictures in patches of 4, so that a small clip has many."""
    import transformers
    from small_transformers import END, IMAGE, START, VIDEO, made

    made().save_pretrained(folder)
    names = {START: "<|vision_start|>", END: "<|vision_end|>", IMAGE: "<|image_pad|>",
             VIDEO: "<|video_pad|>", 1: "<|endoftext|>"}  # fmt: skip
    letters = iter(string.printable[:95].replace(" ", "Ġ"))
    vocab = {names.get(i) or next(letters, f"<{i}>"): i for i in range(160)}
    tokenizer = transformers.Qwen2Tokenizer(vocab=vocab, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(names.values())})
    sizes = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    small = {"shortest_edge": 64, "longest_edge": 2**24}
    processor = transformers.Qwen2_5_VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**sizes, size=small),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(**sizes, size=small),
        chat_template=(
            "{% for message in messages %}{% for part in message.content %}"
            "{% if part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
            "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
        ),
    )  # fmt: skip
    processor.save_pretrained(folder)
