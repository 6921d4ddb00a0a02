"""Training loops that people use otherwise, each a kind of work for `pairs`: they need the extra `benchmarks`."""

import torch

LEARNING_RATE = 1e-4
UNET = {
    "block_out_channels": [32, 64, 128, 128],
    "layers_per_block": 2,
    "norm_num_groups": 8,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"],
}
"""6.3 million parameters: the pixel UNet of these comparisons."""


def unconditional(folder, pixels, batch_size, precision, gate, *, unet=UNET, accumulation=1, workers=0):
    """diffusers' examples/unconditional_image_generation/train_unconditional.py, its loop with its defaults.

    Left out: logging to a tracker, checkpoints and drawing. `precision` is its --mixed_precision, `accumulation` its
    --gradient_accumulation_steps, `workers` its --dataloader_num_workers; --use_ema is on.
    """
    from accelerate import Accelerator
    from datasets import load_dataset
    from diffusers import DDPMScheduler, UNet2DModel
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from torchvision import transforms

    accelerator = Accelerator(gradient_accumulation_steps=accumulation, mixed_precision=precision)
    model = UNet2DModel(sample_size=pixels, **unet)
    ema = EMAModel(
        model.parameters(),
        decay=0.9999,
        use_ema_warmup=True,
        inv_gamma=1.0,
        power=0.75,
        model_cls=UNet2DModel,
        model_config=model.config,
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear", prediction_type="epsilon")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-08
    )
    dataset = load_dataset("imagefolder", data_dir=str(folder), split="train")
    augmentations = transforms.Compose(
        [
            transforms.Resize(pixels, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(pixels),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    dataset.set_transform(lambda rows: {"input": [augmentations(image.convert("RGB")) for image in rows["image"]]})
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=workers)
    lr_scheduler = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=500, num_training_steps=10**6)
    model, optimizer, loader, lr_scheduler = accelerator.prepare(model, optimizer, loader, lr_scheduler)
    ema.to(accelerator.device)
    weight_dtype = {"no": torch.float32, "bf16": torch.bfloat16}[precision]
    gate.ready()
    while True:
        model.train()
        for batch in loader:
            clean = batch["input"].to(weight_dtype)
            noise = torch.randn(clean.shape, dtype=weight_dtype, device=clean.device)
            timesteps = torch.randint(0, 1000, (clean.shape[0],), device=clean.device).long()
            noisy = scheduler.add_noise(clean, noise, timesteps)
            with accelerator.accumulate(model):
                output = model(noisy, timesteps).sample
                loss = torch.nn.functional.mse_loss(output.float(), noise.float())
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                ema.step(model.parameters())
            _ = {"loss": loss.detach().item(), "lr": lr_scheduler.get_last_lr()[0]}
            if accelerator.sync_gradients:
                gate.step()


class AsTheirs(torch.nn.Module):
    """A UNet2DModel with the interface that denoising_diffusion_pytorch asks of a model."""

    channels = out_dim = 3
    self_condition = False

    def __init__(self, pixels, unet=UNET):
        from diffusers import UNet2DModel

        super().__init__()
        self.unet = UNet2DModel(sample_size=pixels, **unet)

    def forward(self, x, times, x_self_cond=None):
        return self.unet(x, times).sample


def lucidrains(folder, pixels, batch_size, precision, results, gate, *, unet=UNET, accumulation=1):
    """denoising_diffusion_pytorch's own Trainer with its defaults on the same UNet, without FID and drawing."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer

    trainer = Trainer(
        GaussianDiffusion(AsTheirs(pixels, unet), image_size=pixels),
        str(folder),
        train_batch_size=batch_size,
        gradient_accumulate_every=accumulation,
        train_lr=LEARNING_RATE,
        train_num_steps=10**6,
        save_and_sample_every=10**6,
        results_folder=str(results),
        amp=precision != "no",
        mixed_precision_type="bf16",
        calculate_fid=False,
    )
    update = trainer.ema.update

    def held_update():  # the last thing of its step
        update()
        gate.step()

    trainer.ema.update = held_update
    gate.ready()
    trainer.train()


def bare_step(pixels, batch_size, precision, lay_out):
    """A function that does forward, backward and optimizer of the same UNet on one fixed batch, and nothing else.

    In bf16 its attention is that of the product.

    Args:
        lay_out: whether the weights and the batch are in the memory format channels_last.
    """
    from diffusers import UNet2DModel

    from runner.models import attention

    model = UNet2DModel(sample_size=pixels, **UNET)
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, batch_size, 3, pixels, pixels, generator=generator)
    t = torch.randint(0, 1000, (batch_size,), generator=generator)
    if precision == "bf16":
        attention.lay_out(model, {"eager_attention": True, "upcast_attention": False})
    if lay_out:
        model = model.to(memory_format=torch.channels_last)
        x, eps = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, eps))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    model.train()

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            output = model(x, t, return_dict=False)[0]
            loss = torch.nn.functional.mse_loss(output.float(), eps)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare(pixels, batch_size, precision, lay_out, gate):
    """`bare_step` without end, with memory kept as the product keeps it."""
    from runner.memory import keep_memory

    keep_memory()
    step = bare_step(pixels, batch_size, precision, lay_out)
    gate.ready()
    while True:
        step()
        gate.step()
