"""Fine-tuning in plain torch, as diffusers' example scripts write it: from public parts of diffusers and transformers.

Only the random numbers come from the project: pictures, captions, timesteps and noise of each sample.
"""

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, DiffusionPipeline
from diffusers.training_utils import EMAModel, compute_snr


class Plain:
    """A loop over the samples of a finished run.

    Args:
        folder: the pretrained pipeline.
        samples: the run's `Samples`.
        schedule: options that differ from the model's own noise schedule.

    Attributes:
        pipeline: its parts learn after `train`; none requires gradients before.
        losses, norms: of each optimizer step.
    """

    def __init__(self, folder, samples, **schedule):
        self.pipeline = DiffusionPipeline.from_pretrained(folder)
        self.schedule = DDPMScheduler.from_pretrained(folder, subfolder="scheduler", **schedule)
        self.samples, self.training = samples, samples.values["training"]
        self.encoders = ["text_encoder"]
        if getattr(self.pipeline, "text_encoder_2", None) is not None:
            self.encoders.append("text_encoder_2")
        for name in ("unet", "vae", *self.encoders):
            getattr(self.pipeline, name).requires_grad_(False)
        self.losses, self.norms = [], []
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=False)
        self.after_step = lambda: None

    def train(self, *groups):
        """Trains (parameters, learning rate) pairs; returns the average of all of them, or None."""
        groups = [(list(parameters), rate) for parameters, rate in groups]
        parameters = [p for group, _ in groups for p in group]
        optimizer = torch.optim.AdamW([{"params": group, "lr": rate} for group, rate in groups])
        average = EMAModel(parameters, **self.training["ema"]) if "ema" in self.training else None
        limit, accumulation = self.training["max_grad_norm"], self.training["gradient_accumulation_steps"]
        for micro_batches in self._numbers():
            total = 0.0
            for batch, noise, mixed in micro_batches:
                loss = self.loss(batch, noise, mixed) / accumulation
                loss.backward()
                total += loss.item()
            if limit is not None:
                self.norms.append(torch.nn.utils.clip_grad_norm_(parameters, limit).item())
            optimizer.step()
            optimizer.zero_grad()
            self.after_step()
            if average is not None:
                average.step(parameters)
            self.losses.append(total)
        return average

    def loss(self, batch, noise, mixed):
        """The loss of one micro-batch, as train_text_to_image and train_dreambooth compute it."""
        latents = self.latents(batch)
        timesteps = (batch.u * self.schedule.config.num_train_timesteps).long()
        noisy = self.schedule.add_noise(latents, mixed, timesteps)
        target = noise
        if self.schedule.config.prediction_type == "v_prediction":
            target = self.schedule.get_velocity(latents, noise, timesteps)
        told = self.told(batch)
        with self.autocast:
            prediction = self.pipeline.unet(noisy, timesteps, **told).sample
        prediction = prediction.float()
        prior = self.samples.values["data"].get("prior")
        if prior is not None:
            prediction, prediction_prior = torch.chunk(prediction, 2, dim=0)
            target, target_prior = torch.chunk(target, 2, dim=0)
            return F.mse_loss(prediction, target) + prior["weight"] * F.mse_loss(prediction_prior, target_prior)
        if self.training["snr_gamma"] is None:
            return F.mse_loss(prediction, target)
        snr = compute_snr(self.schedule, timesteps)
        weights = torch.stack([snr, self.training["snr_gamma"] * torch.ones_like(timesteps)], dim=1).min(dim=1)[0]
        weights = weights / (snr + 1 if self.schedule.config.prediction_type == "v_prediction" else snr)
        return (F.mse_loss(prediction, target, reduction="none").mean(dim=[1, 2, 3]) * weights).mean()

    @torch.no_grad()
    def latents(self, batch):
        vae = self.pipeline.vae
        pixels = (batch.pixels.float() / 255 - 0.5) / 0.5
        moments = vae.encode(pixels.to(vae.dtype)).latent_dist
        return ((moments.mean + moments.std * batch.posterior) * vae.config.scaling_factor).float()

    def told(self, batch):
        """What the UNet is told beside noise and time."""
        read = [self.read(name, batch.captions) for name in self.encoders]
        if len(read) == 1:
            return {"encoder_hidden_states": read[0][0]}
        hidden = torch.cat([output.hidden_states[-2] for output in read], dim=-1)
        added = {"text_embeds": read[1][0], "time_ids": batch.sizes.float()}
        return {"encoder_hidden_states": hidden, "added_cond_kwargs": added}

    def read(self, name, captions):
        """The output of a text encoder."""
        tokenizer = getattr(self.pipeline, name.replace("text_encoder", "tokenizer"))
        length = {"padding": "max_length", "truncation": True, "max_length": tokenizer.model_max_length}
        ids = tokenizer(self.written(captions), return_tensors="pt", **length).input_ids
        return getattr(self.pipeline, name)(ids, output_hidden_states=len(self.encoders) > 1)

    def written(self, captions):
        return list(captions)

    def _numbers(self):
        """Each step's micro-batches: a batch, the noise to predict, and the noise that pictures are mixed with.

        The raw normal numbers behind noise_offset and input_perturbation are the difference that a weight of 1 makes.
        """
        offset, perturbation = self.training["noise_offset"], self.training["input_perturbation"]
        shifted = self.samples.steps(noise_offset=1.0) if offset else self.samples.steps()
        perturbed = self.samples.steps(input_perturbation=1.0 if perturbation else 0.0)
        for plain, with_offset, with_other in zip(self.samples.steps(), shifted, perturbed):
            found = []
            for batch, one, other in zip(plain, with_offset, with_other):
                noise = batch.eps + offset * (one.eps - batch.eps)
                mixed = noise + perturbation * (other.perturbed - other.eps) if perturbation else noise
                found.append((batch, noise, mixed))
            yield found
