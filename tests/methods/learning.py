"""Helpers of the methods' tests."""

import torch
from diffusers import DiffusionPipeline

from runner.methods import method_of
from tests.models.drawing import built, drawn, load, theirs

ADAPTERS = {
    "lora": {"rank": 4, "alpha": 2, "dropout": 0.0, "parts": ["unet"], "target_modules": None, "use_dora": False},
    "textual_inversion": {
        "token": "<rose>",
        "num_vectors": 2,
        "initializer_token": "red flower",
        "learnable_property": "object",
    },
}
TRAINING = {
    "batch_size": 2,
    "gradient_accumulation_steps": 3,
    "learning_rate": 1e-3,
    "text_encoder_learning_rate": None,
    "scale_lr": False,
}


def values(adapter=None, *, freeze=None, training=(), formats=("diffusers",), **options):
    """What a method needs of a settled recipe."""
    found = {"seed": 1, "compute": {"mixed_precision": "fp32"}, "training": {**TRAINING, **dict(training)}}
    found["output"] = {"formats": list(formats)}
    if adapter is not None:
        found["adapter"] = {"type": adapter, **ADAPTERS[adapter], **options}
    else:
        found["freeze"] = freeze
    return found


def attached(folder, section):
    """A toy to which a method is attached: (family, groups)."""
    family = built(folder)
    return family, method_of(section).attach(family, section)


def learned(groups, size=0.3):
    """Moves all that learns a little, as training would."""
    torch.manual_seed(3)
    for group in groups:
        for parameter in group.parameters.values():
            parameter.data += size * torch.randn_like(parameter)


def pictures(family):
    """What the family draws as it stands, after training."""
    for part in family.parts.values():
        part.eval()
    return drawn(family, **ASKED)


def plain_pictures(folder, lay):
    """What plain diffusers draws after `lay(pipeline)`."""
    pipeline = load(DiffusionPipeline, folder)
    lay(pipeline)
    return theirs(pipeline, **ASKED)


ASKED = {"prompts": ("a <rose> and a red flower",), "guidance_scale": 5.0, "height": 64, "width": 64}
