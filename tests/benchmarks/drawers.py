"""What people draw with, each a kind of work for `pairs`: a step is one draw of a whole batch."""

import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tests.benchmarks import peers, product

PROMPTS = ["a red flower, masterpiece", "the blue house on a tree"]


def write_pixel(folder, pixels):
    """The pixel UNet as diffusers saves it."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    DDPMPipeline(UNet2DModel(sample_size=pixels, **peers.UNET), DDPMScheduler()).save_pretrained(folder)


def write_latent(folder):
    """A Stable Diffusion with a UNet of a fifth of SD 1.5's width."""
    from diffusers import UNet2DConditionModel

    from runner.models import toy_parts, toys

    toys.stable_diffusion(folder)
    unet = toy_parts.seeded(UNet2DConditionModel)(
        0,
        sample_size=32,
        block_out_channels=(64, 128, 256, 256),
        cross_attention_dim=toy_parts.WIDTH,
        norm_num_groups=16,
    )
    unet.save_pretrained(folder / "unet")


def stage(model, sampling, compute, gate):
    """The sampling stage of a run of a recipe, in a new run's folder each time."""
    with staged(model, sampling, compute) as (draw, _):
        gate.ready()
        while True:
            draw()
            gate.step()


@contextmanager
def staged(model, sampling, compute):
    """A function that draws once by the sampling stage, into a new run's folder, and the family it draws with."""
    import torch

    from runner.memory import keep_memory
    from runner.models import family_class
    from runner.models.fast import lay_out
    from runner.outputs.folder import RunFolder
    from runner.outputs.samples import Samples
    from runner.progress import create
    from runner.sampling.gallery import Gallery
    from runner.signals import Stop

    values = {"model": {"type": "pretrained", "id": str(model)}, "sampling": {"seed": 5, **sampling}}
    settled = product.settled({**values, "compute": compute})
    compute = settled.values["compute"]
    if compute["device"] == "cpu":
        keep_memory()
    progress, outputs = create(quiet=True), Path(tempfile.mkdtemp(dir=model))
    device = torch.device(compute["device"])
    family = family_class(settled.model.family).build(
        settled.model, device=device, seed=0, compute=compute, progress=progress
    )
    lay_out(family, compute)
    gallery = Gallery(settled.values, Samples(RunFolder.create(outputs, "drawn"), settled.portable), progress, Stop(""))
    code = gallery.compiled(family, model.parent / "compiled") if compute["compile"] else nullcontext()

    def draw():
        gallery.samples = Samples(RunFolder.create(outputs, "drawn"), settled.portable)
        gallery.draw(family)

    with code:
        yield draw, family


def unet(model, batch_size, steps, compute, gate):
    """The UNet's calls for as many steps, and nothing else; memory is kept as the product keeps it."""
    import torch
    from diffusers import UNet2DModel

    from runner.memory import keep_memory
    from runner.models import attention

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[compute["dtype"]]
    memory = torch.channels_last if compute["channels_last"] else torch.contiguous_format
    keep_memory()
    called = UNet2DModel.from_pretrained(model / "unet", torch_dtype=dtype).to(memory_format=memory).eval()
    attention.lay_out(called, compute)
    gate.ready()
    while True:
        calls(called, batch_size, steps, memory)
        gate.step()


def calls(unet, batch_size, steps, memory):
    """So many calls of a UNet."""
    import torch

    side = unet.config["sample_size"]
    x = torch.randn(batch_size, 3, side, side).to(unet.dtype, memory_format=memory)
    with torch.inference_mode():
        for t in torch.linspace(999, 0, steps).long():
            unet(x, t)


def pixel_pipeline(name, model, batch_size, steps, gate):
    """diffusers' pipeline for pixel models, called as its documentation does."""
    import diffusers
    import torch

    pipeline = getattr(diffusers, name).from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    gate.ready()
    while True:
        noise = [torch.Generator().manual_seed(5 + i) for i in range(batch_size)]
        pipeline(batch_size=batch_size, generator=noise, num_inference_steps=steps)
        gate.step()


def latent_pipeline(model, pixels, steps, gate, *, dtype="float32", device="cpu", prompts=PROMPTS):
    """diffusers' pipeline for a Stable Diffusion, called as its documentation does."""
    import torch
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(model, torch_dtype=getattr(torch, dtype)).to(device)
    pipeline.set_progress_bar_config(disable=True)
    gate.ready()
    while True:
        noise = [torch.Generator().manual_seed(5) for _ in prompts]
        pipeline(prompts, generator=noise, num_inference_steps=steps, height=pixels, width=pixels)
        gate.step()


def lucidrains(kind, pixels, batch_size, steps, gate):
    """denoising_diffusion_pytorch's own sampling around the same UNet, without its bar."""
    from denoising_diffusion_pytorch import GaussianDiffusion, denoising_diffusion_pytorch

    denoising_diffusion_pytorch.tqdm = lambda steps, **_: steps
    counts = {"timesteps": steps} if kind == "ddpm" else {"sampling_timesteps": steps}
    diffusion = GaussianDiffusion(peers.AsTheirs(pixels), image_size=pixels, objective="pred_noise", **counts).eval()
    gate.ready()
    while True:
        diffusion.sample(batch_size)
        gate.step()
