import json

import pytest

from runner.errors import ModelError, Refused
from runner.models.files import open_files
from runner.models.index import family_of, read_index

SD = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "requires_safety_checker": True,
    "unet": ["diffusers", "UNet2DConditionModel"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "image_encoder": [None, None],
}


@pytest.fixture
def model(tmp_path):
    def save(name="model_index.json", **changes):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**(SD if name == "model_index.json" else {}), **changes}))
        return open_files(str(tmp_path / "model"), base=tmp_path, key="model.id")

    return save


def test_an_index_names_pipeline_parts_and_options(model):
    index = read_index(model())
    assert index.pipeline == "StableDiffusionPipeline"
    assert index.parts == {
        "unet": ("diffusers", "UNet2DConditionModel"),
        "safety_checker": ("stable_diffusion", "StableDiffusionSafetyChecker"),
    }
    assert index.options == {"requires_safety_checker": True}


@pytest.mark.parametrize(
    ("changes", "asks"),
    [
        ({"_class_name": ["pipeline", "Mine"]}, "its pipeline is ['pipeline', 'Mine']"),
        ({"unet": ["unet.my_unet", "MyUNet"]}, "its unet is MyUNet of unet.my_unet"),
        ({"unet": ["os", "system"]}, "its unet is system of os"),
        ({"trust_remote_code": True}, "it sets trust_remote_code"),
        ({"auto_map": {"AutoModel": "x.y"}}, "it sets auto_map"),
        ({"custom_pipeline": "me/code"}, "it sets custom_pipeline"),
        ({"unet_config": {"auto_map": {}}}, "it sets auto_map"),
    ],
)
def test_an_index_that_asks_for_code_is_refused(model, changes, asks):
    with pytest.raises(Refused) as caught:
        read_index(model(**changes))
    assert caught.value.exit_code == 6
    assert str(caught.value).endswith(
        f"model_index.json asks for code of its own ({asks}): recipes cannot run code, choose another model"
    )


def test_a_pipeline_that_no_family_draws_names_those_that_are(model):
    with pytest.raises(ModelError) as caught:
        family_of(model(_class_name="KandinskyPipeline"), "auto")
    assert caught.value.exit_code == 4
    assert str(caught.value).endswith(
        "is of class KandinskyPipeline: choose a model of a family that is drawn "
        "(stable_diffusion, stable_diffusion_xl, stable_diffusion_3, flux, pixel_unet)"
    )


@pytest.mark.parametrize(
    ("pipeline", "family"),
    [
        ("StableDiffusionInpaintPipeline", "stable_diffusion"),
        ("StableDiffusionXLPipeline", "stable_diffusion_xl"),
        ("StableDiffusion3Img2ImgPipeline", "stable_diffusion_3"),
        ("FluxPipeline", "flux"),
        ("DDIMPipeline", "pixel_unet"),
    ],
)
def test_the_pipeline_s_class_tells_the_family(model, pipeline, family):
    files = model(_class_name=pipeline)
    assert family_of(files, "auto") == family_of(files, family) == family


def test_a_refiner_is_an_xl_without_its_first_encoder(model):
    refiner = {"_class_name": "StableDiffusionXLImg2ImgPipeline", "text_encoder": [None, None]}
    assert family_of(model(**refiner), "auto") == "sdxl_refiner"
    base = refiner | {"text_encoder": ["transformers", "CLIPTextModel"]}
    assert family_of(model(**base), "auto") == "stable_diffusion_xl"


def test_a_unet_alone_is_a_pixel_model(model):
    assert family_of(model("unet/config.json", _class_name="UNet2DModel"), "auto") == "pixel_unet"


def test_another_family_than_the_recipe_s_is_said(model):
    with pytest.raises(ModelError, match=r"is a model of family stable_diffusion, not flux: correct model.family"):
        family_of(model(), "flux")


def test_a_folder_without_an_index(model):
    with pytest.raises(ModelError, match=r"has no model_index.json: a model is a folder in diffusers' layout or"):
        family_of(model("vae/config.json"), "auto")


def test_a_repository_of_single_files_names_them(model):
    with pytest.raises(ModelError, match=r"model.file names one of its checkpoints \(a.safetensors\)"):
        family_of(model("a.safetensors"), "auto")


@pytest.mark.parametrize("value", [[1, 2], ["diffusers"], [None, "X"], []])
def test_an_entry_that_names_no_class(model, value):
    with pytest.raises(ModelError, match=r"has a unet that is no \[library, class\]"):
        read_index(model(unet=value))
