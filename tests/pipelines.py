"""Pipelines of diffusers with random weights and a few thousand of them, saved as published ones are."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

DIM = 16  # of embeddings
TRANSFORMER = {"hidden_size": DIM, "intermediate_size": DIM, "num_hidden_layers": 1, "num_attention_heads": 2}


def save_ddpm(folder: Path) -> None:
    """Makes images of 16 px from noise."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
        add_attention=False,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)


def save_unclip(folder: Path, words: Path) -> None:
    """Makes images of 16 px from CLIP's embeddings of others; what its tokenizer is made of goes into `words`."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(**TRANSFORMER, projection_dim=DIM, image_size=32, patch_size=16)
    text = CLIPTextConfig(**TRANSFORMER, vocab_size=4, max_position_embeddings=8, bos_token_id=0, eos_token_id=1)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=DIM,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * DIM,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(size=32, crop_size=32),
        image_encoder=CLIPVisionModelWithProjection(vision),
        image_normalizer=StableUnCLIPImageNormalizer(DIM),
        image_noising_scheduler=DDPMScheduler(),
        tokenizer=tokenizer(words),
        text_encoder=CLIPTextModel(text),
        unet=unet,
        scheduler=DDIMScheduler(),
        vae=vae,
    ).save_pretrained(folder)


def tokenizer(folder: Path) -> CLIPTokenizer:
    """Of a language with two words."""
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "b</w>": 3}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8)
