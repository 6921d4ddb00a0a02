"""Rehearsals of recipes whose models are nowhere: whatever is valid can be rehearsed, and what is not is told."""

import json

import pytest
from PIL import Image

from runner.cli import main
from runner.models import toys

EDGES = {
    "little-strength": """
        model: {id: x/sd}
        sampling: {prompts: [a cat], init_image: a.png, strength: 0.1, num_inference_steps: 50}""",
    "little-strengths": """
        model: {id: x/sd}
        sampling:
          prompts: [a cat]
          init_image: a.png
          num_inference_steps: 50
          matrix: {strength: [0.05, 0.1, 1.0], num_inference_steps: [20, 50]}""",
    "vae-of-sd": "model: {id: x/sd, vae: {id: x/vae}}\nsampling: {prompts: [a cat]}",
    "vae-of-sd3": "model: {id: x/sd3, family: stable_diffusion_3, vae: {id: x/vae}}\nsampling: {prompts: [a cat]}",
    "vae-of-flux": "model: {id: x/f, family: flux, vae: {id: x/vae, subfolder: vae}}\nsampling: {prompts: [a cat]}",
    "embeddings-of-one-name": """
        model: {id: x/sd, embeddings: [{id: x/cat}, {id: y/cat}, {id: z/cat, token: dog}]}
        sampling: {prompts: [a cat]}""",
    "embedding-of-a-refiner": """
        model: {id: x/r, family: sdxl_refiner, embeddings: [{id: x/neg}], loras: [{id: x/style}]}
        sampling: {prompts: [a cat neg], init_image: a.png}""",
    "mask": "model: {id: x/sd}\nsampling: {prompts: [a cat], init_image: a.png, mask_image: m.png}",
    "mask-and-a-name": """
        model: {id: x/sdxl-inpaint, family: stable_diffusion_xl}
        sampling: {prompts: [a cat], init_image: a.png, mask_image: m.png}""",
    "little-refined": """
        model: {id: x/xl, family: stable_diffusion_xl}
        sampling: {prompts: [a cat], num_inference_steps: 50, refiner: {id: x/r, high_noise_frac: 0.95}}""",
    "layers": """
        model: {id: x/xl, family: stable_diffusion_xl}
        sampling: {prompts: [a cat], clip_skip: 7, matrix: {guidance_scale: [1, 5]}}""",
    "checked": "model: {id: x/sd, safety_checker: true}\nsampling: {prompts: [a cat], num_images: 9}",
}

IMPOSSIBLE = {
    "checked-xl": (
        "model: {id: x/xl, family: stable_diffusion_xl, safety_checker: true}\nsampling: {prompts: [a cat]}",
        "a stable_diffusion_xl model ships no safety checker: write auto or false",
    ),
    "called-flow": (
        "model: {id: x/f, family: flux, embeddings: [{id: x/cat}]}\nsampling: {prompts: [a cat]}",
        "a flux model takes no embeddings: take them out",
    ),
    "pixels": (
        "model: {id: x/p, family: pixel_unet, loras: [{id: x/cat}]}\nsampling: {num_images: 1}",
        "a pixel_unet model takes no loras: take them out",
    ),
}


@pytest.fixture
def rehearse(here, capfd):
    """The exit code of a recipe's rehearsal, and all that it said."""
    Image.new("RGB", (64, 64), "red").save(here / "a.png")
    Image.new("L", (64, 64), "white").save(here / "m.png")

    def run(text):
        text = "\n".join(line.removeprefix(" " * 8) for line in text.splitlines())
        text = text.replace("model: {", "model: {type: pretrained, ")
        (here / "recipe.yaml").write_text(f"version: 1\nname: edge\n{text}\n")
        code = main(["run", "recipe.yaml", "--smoke"])
        return code, "".join(capfd.readouterr())

    return run


@pytest.mark.parametrize("name", EDGES)
def test_what_is_valid_can_be_rehearsed(rehearse, name):
    code, said = rehearse(EDGES[name])
    assert code == 0, said


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_no_such_model_has_is_told_without_a_toys_path(rehearse, name):
    text, sentence = IMPOSSIBLE[name]
    code, said = rehearse(text)
    assert code != 0
    assert sentence in said
    assert "recipe-" not in said  # the folder of the toys


@pytest.mark.parametrize("masked", [True, False])
def test_a_model_at_hand_says_whether_it_was_made_for_inpainting(rehearse, here, masked):
    toys.stable_diffusion(here / "painter")
    path = here / "painter" / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"in_channels": 9}))
    mask = ", init_image: a.png, mask_image: m.png" if masked else ""
    code, said = rehearse(f"model: {{id: ./painter}}\nsampling: {{prompts: [a cat]{mask}}}")
    assert (code == 0) == masked, said
    assert masked or "this model was made for inpainting: give init_image and mask_image" in said
