"""Fine-tuning and LoRA of a Stable Diffusion model beside diffusers' own loops, images a second.

    python -m tests.benchmarks.finetune [--method full lora] [--pixels 256] [--batch-size 2] [--rounds 5] [KIND …]

The model has Stable Diffusion 1.5's layers at a quarter of their width (UNet, VAE and text encoder), random weights.
The peers' loops are diffusers' train_text_to_image and train_text_to_image_lora with their defaults (AdamW, Accelerate,
PIL transforms): pictures and captions are encoded at each step. Needs the extra `benchmarks`. Kinds: see KINDS.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import torch

from tests.benchmarks import product
from tests.benchmarks.pairs import arguments, settle_vision, side_by_side, table

PICTURES = 64
RANK, RATE = 4, 1e-5
CPU = {
    "device": "cpu",
    **dict.fromkeys(("channels_last", "compile", "eager_attention", "upcast_attention"), False),
}
UNCACHED = {"cache_latents": False, "cache_text_embeddings": False}
KINDS = {
    "no caches, fp32": (UNCACHED, {"mixed_precision": "fp32", **CPU}),
    "caches, fp32": ({}, {"mixed_precision": "fp32", **CPU}),
    "caches, bf16": ({}, {"mixed_precision": "bf16", **CPU}),
    "auto": ({}, {"device": "cpu"}),
    "all on": ({}, {**CPU, "mixed_precision": "bf16", "channels_last": True, "upcast_attention": True}),
    "all on, compiled": ({}, {**CPU, "mixed_precision": "bf16", "channels_last": True, "compile": True}),
    "diffusers": None,
    "diffusers bf16": None,
}


def write_model(folder):
    """Stable Diffusion 1.5 at a quarter of its width."""
    from runner.models import toy_parts
    from tests.benchmarks import models

    torch.manual_seed(0)
    channels = {"block_out_channels": (80, 160, 320, 320), "cross_attention_dim": 192, "norm_num_groups": 16}
    vae = {"block_out_channels": (32, 64, 128, 128), "sample_size": 256}
    text = {"vocab_size": len(toy_parts.clip_tokenizer()), "hidden_size": 192, "intermediate_size": 768}
    models.stable_diffusion(folder, unet={"sample_size": 32, **channels}, vae=vae, text=text)


def loader(folder, tokenizer, pixels, batch_size, workers):
    """The scripts' data: a folder with captions, transformed and tokenized at each access."""
    from datasets import load_dataset
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.Resize(pixels, interpolation=transforms.InterpolationMode.LANCZOS),
            transforms.CenterCrop(pixels),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )

    def preprocess(rows):
        told = {"max_length": tokenizer.model_max_length, "padding": "max_length", "truncation": True}
        rows["pixel_values"] = [transform(image.convert("RGB")) for image in rows["image"]]
        rows["input_ids"] = tokenizer(rows["text"], return_tensors="pt", **told).input_ids
        return rows

    def collate(rows):
        return {key: torch.stack([row[key] for row in rows]) for key in ("pixel_values", "input_ids")}

    dataset = load_dataset("imagefolder", data_dir=str(folder), split="train").with_transform(preprocess)
    options = {"shuffle": True, "collate_fn": collate, "batch_size": batch_size, "num_workers": workers}
    return torch.utils.data.DataLoader(dataset, **options)


def script(model, pictures, method, pixels, batch_size, precision, gate, *, workers=0):
    """The scripts' loop. Left out: trackers, checkpoints, validation. `workers` is their --dataloader_num_workers."""
    from accelerate import Accelerator
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from diffusers.optimization import get_scheduler
    from peft import LoraConfig
    from transformers import CLIPTextModel, CLIPTokenizer

    accelerator = Accelerator(mixed_precision=precision)
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(model / "text_encoder").requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(model / "vae").requires_grad_(False)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    scheduler = DDPMScheduler.from_pretrained(model / "scheduler")
    dtype = {"no": torch.float32, "bf16": torch.bfloat16}[precision]
    vae.to(accelerator.device, dtype=dtype)
    text_encoder.to(accelerator.device, dtype=dtype)
    if method == "lora":
        unet.requires_grad_(False).to(accelerator.device, dtype=dtype)
        targets = ["to_k", "to_q", "to_v", "to_out.0"]
        unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=targets))
    learning = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
    lr_scheduler = get_scheduler("constant", optimizer=optimizer)
    data = loader(pictures, tokenizer, pixels, batch_size, workers)
    unet, optimizer, data, lr_scheduler = accelerator.prepare(unet.train(), optimizer, data, lr_scheduler)
    gate.ready()
    while True:
        for batch in data:
            with accelerator.accumulate(unet):
                latents = vae.encode(batch["pixel_values"].to(dtype)).latent_dist.sample() * vae.config.scaling_factor
                noise = torch.randn_like(latents)
                timesteps = torch.randint(0, 1000, (latents.shape[0],), device=latents.device).long()
                noisy = scheduler.add_noise(latents, noise, timesteps)
                states = text_encoder(batch["input_ids"], return_dict=False)[0]
                prediction = unet(noisy, timesteps, states, return_dict=False)[0]
                loss = torch.nn.functional.mse_loss(prediction.float(), noise.float(), reduction="mean")
                average = accelerator.gather(loss.repeat(batch_size)).mean()
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(learning, 1.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            average.item()
            gate.step()


def ours(model, pictures, method, pixels, batch_size, training, compute):
    """The recipe of a kind."""
    values = {
        "data": {"type": "folder", "id": str(pictures), "resolution": pixels, "random_flip": True},
        "model": {"type": "pretrained", "id": str(model)},
        "training": {"batch_size": batch_size, "learning_rate": RATE, **training},
        "compute": compute,
    }
    if method == "lora":
        values["adapter"] = {"type": "lora", "rank": RANK, "alpha": RANK, "parts": ["unet"]}
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--method", nargs="+", default=["full", "lora"], choices=["full", "lora"])
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=2)
    arguments(parser, rounds=5, steps=4, warm=2)
    options = parser.parse_args()
    settle_vision()
    with tempfile.TemporaryDirectory() as root:
        model, pictures, cache = (Path(root, name) for name in ("model", "pictures", "cache"))
        write_model(model)
        product.draw_folder(pictures, PICTURES, options.pixels)
        for method in options.method:
            what = (model, pictures, method, options.pixels, options.batch_size)
            kinds = {}
            for name in options.kinds or KINDS:
                if KINDS[name] is None:
                    kinds[name] = partial(script, *what, "bf16" if "bf16" in name else "no")
                else:
                    kinds[name] = partial(product.train, ours(*what, *KINDS[name]), cache)
            print(f"{method}: {options.pixels} px, batch {options.batch_size}, {options.steps} steps a turn")
            bases = [name for name in ("diffusers", "diffusers bf16") if name in kinds]
            work = options.steps * options.batch_size
            table(side_by_side(kinds, options), unit="images", work=work, bases=bases, digits=3)


if __name__ == "__main__":
    main()
