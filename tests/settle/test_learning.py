"""Settling what learns: problems that only the model can tell, each at its place and in a dry run."""

import pytest

from runner.cli import main
from runner.models import family_class, toys

DATA = "data: {type: builtin, num_images: 8, resolution: 64}"
TRAINING = "training: {max_train_steps: 4, batch_size: 2}"


@pytest.fixture
def planned(here, capsys):
    """What planning says of a recipe that trains the toy in ./model."""

    def run(*lines, model="stable_diffusion", data=DATA, **toy):
        getattr(toys, model)(here / "model", **toy)
        head = ["version: 1", "name: a", data, "model: {type: pretrained, id: ./model}", TRAINING]
        (here / "a.yaml").write_text("\n".join([*head, *lines]) + "\n")
        code = main(["run", "a.yaml", "--dry-run"])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


@pytest.mark.parametrize(
    ("line", "place", "told"),
    [
        ("freeze: [vae, text_encoder, unit]", "6:29", "nothing of the model is called 'unit': its parts are unet,"),
        ("freeze: [vae, text_encoder, 'unet.downs.*']", "6:29", "nothing of the model is called 'unet.downs.*'"),
        ("freeze: [vae, text_encoder, unet]", "6:9", "every part of the model is frozen"),
        ("freeze: [text_encoder]", "6:9", "teaches it nothing: write 'vae' into freeze"),
        ("adapter: {type: lora, parts: [text_encoder_2]}", "6:31", "has no text_encoder_2 to adapt: it has unet, text"),
        ("adapter: {type: lora, target_modules: [to_qq]}", "6:39", "0 modules of the unet match 'to_qq'; candidates: "),
        ("adapter: {type: textual_inversion, token: flower}", "6:43", "the model knows the word 'flower' already"),
        ("scheduler: {type: DDPM, rescale_betas_zero_snr: true}", "6:49", "add prediction_type: v_prediction"),
        ("compute: {dtype: bf16}", "6:18", "weights that learn are kept in fp32"),
    ],
)
def test_what_does_not_fit_the_model_is_told_where_it_is_written(planned, line, place, told):
    code, said = planned(line)
    assert code == 1
    assert f"a.yaml:{place}: " in said and told in said


@pytest.mark.parametrize(
    ("model", "toy", "told"),
    [
        ("stable_diffusion_3", {}, "a stable_diffusion_3 model can be sampled from but not trained yet"),
        ("flux", {}, "a flux model can be sampled from but not trained yet"),
        ("sdxl_refiner", {}, "a sdxl_refiner model can be sampled from but not trained yet"),
        ("stable_diffusion", {"in_channels": 9}, "was made for inpainting and cannot be trained yet"),
    ],
)
def test_models_that_cannot_be_trained_yet_are_named(planned, model, toy, told):
    code, said = planned(model=model, **toy)
    assert code == 1
    assert "a.yaml:4:31: " in said and told in said


def test_a_resolution_that_the_vae_cannot_halve(planned):
    code, said = planned(data="data: {type: builtin, num_images: 8, resolution: 68}")
    assert code == 1 and "a.yaml:3:50: resolution 68 is not a multiple of 8" in said


def test_what_is_open_is_filled(planned):
    code, said = planned("adapter: {type: lora, rank: 6}")
    assert code == 0 and "of which 12,288 learn" in said


def test_a_pixel_unet_takes_no_lora(here, capsys):
    family_class("pixel_unet").toy(here / "model")
    head = ["version: 1", "name: a", "data: {type: builtin, num_images: 8, resolution: 32}"]
    lines = [*head, "model: {type: pretrained, id: ./model}", TRAINING, "adapter: {type: lora}"]
    (here / "a.yaml").write_text("\n".join(lines) + "\n")
    assert main(["run", "a.yaml", "--dry-run"]) == 1
    assert "a.yaml:6:17: a pixel_unet model takes no LoRA" in capsys.readouterr().err
