"""The peak of memory of LoRA training with caches, beside a loop as diffusers' train_text_to_image_lora does it.

    python -m tests.benchmarks.lora_memory [--steps 2] [--pixels 256] [--batch-size 1] [--runs 2]

Both train the same LoRA on a model of Stable Diffusion 1.5's real sizes with random weights, fp32 on a CPU, each run in
a process of its own. The loop encodes pictures and captions at each step, as the script does; ours once, before.
"""

import argparse
import contextlib
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig
from transformers import CLIPTextModel, CLIPTokenizer

from runner import cli
from runner.data.builtin import draw, scene

KINDS = ("bare", "ours")
RANK, RATE = 16, 1e-4


def bare(folder, options):
    """The script's loop: frozen parts on the device, everything encoded at each step."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = AutoencoderKL.from_pretrained(folder / "vae").requires_grad_(False)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
    unet.requires_grad_(False)
    targets = ["to_k", "to_q", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=targets))
    learning = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=RATE)
    unet.train()
    for step in range(options.steps):
        numbers = [step * options.batch_size + i for i in range(options.batch_size)]
        scenes = [scene(number % 4) for number in numbers]
        pixels = torch.stack([torch.from_numpy(_array(s, options.pixels)) for s in scenes])
        latents = vae.encode(pixels).latent_dist.sample() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        t = torch.randint(0, 1000, (len(latents),))
        ids = tokenizer(
            [s.caption for s in scenes], padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        states = encoder(ids, return_dict=False)[0]
        output = unet(scheduler.add_noise(latents, noise, t), t, states, return_dict=False)[0]
        torch.nn.functional.mse_loss(output.float(), noise.float()).backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def _array(flower, pixels):
    import numpy as np

    return (np.asarray(draw(flower, pixels), np.float32) / 127.5 - 1).transpose(2, 0, 1)


def ours(folder, options):
    """`recipe run` of the same."""
    recipe = folder / "lora.yaml"
    recipe.write_text(
        f"""version: 1
name: lora
data: {{type: builtin, num_images: 4, resolution: {options.pixels}}}
model: {{type: pretrained, id: {folder}}}
adapter: {{type: lora, rank: {RANK}}}
compute: {{device: cpu, mixed_precision: fp32}}
training: {{max_train_steps: {options.steps}, batch_size: {options.batch_size}, learning_rate: {RATE}}}
""",
        "utf-8",
    )
    where = ["--output-dir", str(folder / "outputs"), "--cache-dir", str(folder / "cache"), "--quiet", "--fresh"]
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli.main(["run", str(recipe), *where])
    assert code == 0, code


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.kind:
        start = time.perf_counter()
        {"bare": bare, "ours": ours}[options.kind](options.folder, options)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{peak} {time.perf_counter() - start}")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", _WRITE, folder], check=True)
        _compare(Path(folder), arguments, options)


# In a process of its own: a process starts with the peak of the one that started it.
_WRITE = "import sys, pathlib; from tests.benchmarks import models; models.stable_diffusion(pathlib.Path(sys.argv[1]))"


def _compare(folder, arguments, options):
    """Prints the table; ours is run twice a time, since the first run fills the caches and the second finds them."""
    command = [sys.executable, "-m", "tests.benchmarks.lora_memory", *arguments, "--folder", str(folder), "--kind"]
    print("run        bare            ours    ratio of peaks")
    for run in range(options.runs):
        found = []
        for kind in KINDS:
            done = subprocess.run([*command, kind], check=True, capture_output=True, text=True, env=os.environ)
            found.append([float(number) for number in done.stdout.split()])
        (bare_peak, bare_s), (our_peak, our_s) = found
        print(
            f"{run + 1:3} {bare_peak:6.2f} GiB {bare_s:4.0f} s {our_peak:6.2f} GiB {our_s:4.0f} s "
            f"{our_peak / bare_peak:7.3f}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
