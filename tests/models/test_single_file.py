"""Models in one checkpoint file, in the layout in which Stable Diffusion was published."""

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from runner.errors import EnvironmentFault, ModelError, Refused
from runner.models import toys
from runner.models.family import Facts
from runner.models.files import open_files
from runner.models.index import family_of, read_index
from runner.models.load_single import load_single
from runner.models.parts import find_part
from runner.models.single_file import open_checkpoint
from tests.data.conftest import Remembers
from tests.single_file_maker import checkpoint, write_checkpoint

FAMILIES = ["stable_diffusion", "stable_diffusion_xl", "sdxl_refiner", "stable_diffusion_3"]
IN = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """For each family its folder, and beside it the same weights as one file."""
    top = tmp_path_factory.mktemp("toys")
    for family in FAMILIES:
        getattr(toys, family)(top / family, **({"safety_checker": True} if family == "stable_diffusion" else {}))
        write_checkpoint(top / family, top / f"{family}.safetensors")
    return top


@pytest.fixture
def broken(models, tmp_path):
    """Writes the checkpoint of an SD 1.x with changed tensors."""

    def write(edit):
        tensors = load_file(models / "stable_diffusion.safetensors")
        edit(tensors)
        save_file(tensors, tmp_path / "broken.safetensors")
        return tmp_path / "broken.safetensors"

    return write


def configuration(models, folder):
    """The files of the folder without its weights."""
    return shutil.copytree(models / "stable_diffusion", folder, ignore=shutil.ignore_patterns("*.safetensors"))


def opened(path, config=None, *, allow_pickle=False):
    files = open_files(str(path), base=path.parent, key="model.id")
    config = None if config is None else open_files(str(config), base=path.parent, key="model.config")
    return open_checkpoint(files, path.name, config, offline=True, allow_pickle=allow_pickle)


def facts_of(files):
    index = read_index(files)
    found = {n: find_part(files, n, cls, variant=None, allow_pickle=False) for n, (_, cls) in index.parts.items()}
    parts, configs = ({name: pair[i] for name, pair in found.items()} for i in (0, 1))
    return Facts(family_of(files, "auto"), configs, parts=parts, pipeline=index.pipeline, checkpoint=files.part)


def load(path, config, **options):
    return load_single(facts_of(opened(path, config, **options)), Remembers(), dtype=torch.float32)


def same(ours, theirs):
    a, b = ours.state_dict(), theirs.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a) and not ours.training


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_are_those_of_the_folder_it_was_made_from(models, family):
    files = opened(models / f"{family}.safetensors", models / family)
    assert family_of(files, "auto") == family
    parts = load(models / f"{family}.safetensors", models / family)
    pipe = DiffusionPipeline.from_pretrained(models / family, dtype=torch.float32)
    assert set(parts) == {n for n, part in pipe.components.items() if part is not None and n != "safety_checker"}
    for name, part in parts.items():
        assert type(part) is type(getattr(pipe, name))
        assert not isinstance(part, torch.nn.Module) or same(part, getattr(pipe, name))


def test_the_picture_is_that_of_the_folder(models):
    def draw(pipe):
        pipe.set_progress_bar_config(disable=True)
        generator = torch.Generator("cpu").manual_seed(3)
        return pipe("a cat", num_inference_steps=2, height=64, width=64, generator=generator).images[0].tobytes()

    theirs = DiffusionPipeline.from_pretrained(models / "stable_diffusion", dtype=torch.float32, safety_checker=None)
    parts = load(models / "stable_diffusion.safetensors", models / "stable_diffusion")
    ours = type(theirs)(**parts, safety_checker=None, requires_safety_checker=False)
    assert draw(ours) == draw(theirs)


def test_a_configuration_without_weights_is_enough(models, tmp_path):
    parts = load(models / "stable_diffusion.safetensors", configuration(models, tmp_path / "bare"))
    pipe = DiffusionPipeline.from_pretrained(models / "stable_diffusion", dtype=torch.float32)
    assert same(parts["unet"], pipe.unet)


def test_a_part_that_the_checkpoint_lacks_comes_from_the_configuration(models, broken, tmp_path):
    def drop(tensors):
        for key in [key for key in tensors if key.startswith("first_stage_model.")]:
            del tensors[key]

    path = broken(drop)
    assert "vae" in load(path, models / "stable_diffusion")
    bare = shutil.copytree(
        models / "stable_diffusion", tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors")
    )
    with pytest.raises(ModelError, match=r"broken\.safetensors holds no vae, and neither does .*bare"):
        facts_of(opened(path, bare))


def test_another_vae_replaces_the_checkpoint_s(models):
    files = opened(models / "stable_diffusion.safetensors", models / "stable_diffusion")
    facts = facts_of(files)
    other = open_files(str(models / "stable_diffusion_xl"), base=models, key="model.vae.id")
    facts.parts["vae"], facts.configs["vae"] = find_part(
        other, "vae", "AutoencoderKL", variant=None, allow_pickle=False
    )
    xl = DiffusionPipeline.from_pretrained(models / "stable_diffusion_xl", dtype=torch.float32)
    assert same(load_single(facts, Remembers(), dtype=torch.float32)["vae"], xl.vae)


def add(key, tensor):
    return lambda tensors: tensors.update({key: tensor})


def drop(key):
    return lambda tensors: tensors.pop(key)


FIT = r"does not fit its configuration: its {} holds [\d,]+ numbers where .* describes [\d,]+{}: get the file again, or"
TEXT = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
BROKEN = {
    "surplus of the unet": (add("model.diffusion_model.more", torch.zeros(1)), FIT.format("unet", "")),
    "surplus of the vae": (add("first_stage_model.decoder.up.9.x", torch.zeros(1)), FIT.format("vae", "")),
    "missing of the unet": (drop(IN), FIT.format("unet", ", and lacks conv_in.weight")),
    "missing of the unet's middle": (
        drop("model.diffusion_model.middle_block.1.norm.bias"),
        FIT.format("unet", ", and lacks .*mid.*norm.bias"),
    ),
    "missing of the vae": (
        drop("first_stage_model.decoder.conv_out.bias"),
        FIT.format("vae", ", and lacks .*decoder.conv_out.bias"),
    ),
    "missing of the text encoder": (
        drop(TEXT),
        "it lacks .*final_layer_norm.weight of CLIPTextModel: get the file",
    ),
    "nan": (lambda t: t[IN].view(-1)[0].fill_(float("nan")), r"broken\.safetensors holds NaN in conv_in\.weight"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_diffusers_passes_in_silence_is_an_error(models, broken, name):
    edit, text = BROKEN[name]
    with pytest.raises(ModelError, match=text) as caught:
        load(broken(edit), models / "stable_diffusion")
    assert caught.value.exit_code == 4


def test_a_surplus_and_a_missing_tensor_of_a_transformer_are_errors(models, tmp_path):
    tensors = load_file(models / "stable_diffusion_3.safetensors") | {"model.diffusion_model.more": torch.zeros(1)}
    save_file(tensors, tmp_path / "more.safetensors")
    with pytest.raises(ModelError, match=FIT.format("transformer", "")):
        load(tmp_path / "more.safetensors", models / "stable_diffusion_3")
    tensors = load_file(models / "stable_diffusion_3.safetensors")
    del tensors["model.diffusion_model.final_layer.linear.bias"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(ModelError, match=FIT.format("transformer", ", and lacks .*final_layer.linear.bias")):
        load(tmp_path / "less.safetensors", models / "stable_diffusion_3")


def test_what_training_left_in_a_checkpoint_is_no_surplus(models, broken):
    def edit(tensors):
        tensors |= {"model_ema.decay": torch.zeros(1), "first_stage_model.loss.logvar": torch.zeros(1)}
        tensors["betas"] = torch.zeros(1000)

    assert "unet" in load(broken(edit), models / "stable_diffusion")


def test_a_configuration_of_another_model_is_said(models):
    with pytest.raises(ModelError, match=r"does not fit its configuration: its unet holds"):
        load(models / "stable_diffusion_xl.safetensors", models / "sdxl_refiner")


def test_another_shape_is_said(models, broken):
    def edit(tensors):
        tensors[IN] = tensors[IN].flatten()

    with pytest.raises(ModelError, match=r"broken\.safetensors does not fit .*conv_in\.weight.*: correct model"):
        load(broken(edit), models / "stable_diffusion")


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({"lora_unet_down.lora_up.weight": torch.zeros(2)}, "is a LoRA and no whole model: write it under model.loras"),
        ({"emb_params": torch.zeros(2)}, "is no checkpoint of Stable Diffusion or Flux"),
    ],
)
def test_a_file_that_is_no_model_is_said(tmp_path, tensors, text):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=rf"x\.safetensors {text}"):
        opened(tmp_path / "x.safetensors")


def test_a_damaged_checkpoint_is_said(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelError, match="is a Git LFS placeholder"):
        opened(tmp_path / "x.safetensors")


def test_without_the_hub_a_configuration_is_needed(models, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EnvironmentFault) as caught:
        opened(models / "stable_diffusion.safetensors")
    assert caught.value.exit_code == 5
    text = str(caught.value)
    assert "stable_diffusion.safetensors holds no configuration, and stable-diffusion-v1-5/" in text
    assert "write model.config with a diffusers folder of the same kind" in text


def test_a_cached_configuration_is_found_offline(models, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    storage = tmp_path / "models--stable-diffusion-v1-5--stable-diffusion-v1-5"
    configuration(models, storage / "snapshots" / ("a" * 40))
    files = opened(models / "stable_diffusion.safetensors")
    assert (files.origin, files.revision) == ("stable-diffusion-v1-5/stable-diffusion-v1-5", "a" * 40)
    assert "unet" in load_single(facts_of(files), Remembers(), dtype=torch.float32)


def test_a_pickle_is_refused_unless_allowed(models, tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save({"state_dict": checkpoint(models / "stable_diffusion"), "global_step": 3}, path)
    with pytest.raises(Refused, match=r"old\.ckpt is a pickle: take a \.safetensors file, or --allow-pickle") as caught:
        opened(path, models / "stable_diffusion")
    assert caught.value.exit_code == 6
    parts = load(path, models / "stable_diffusion", allow_pickle=True)
    pipe = DiffusionPipeline.from_pretrained(models / "stable_diffusion", dtype=torch.float32)
    assert same(parts["unet"], pipe.unet)


class Harm:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_an_allowed_pickle_runs_no_code(tmp_path):
    torch.save({"x": Harm(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    with pytest.raises(Refused, match=r"evil\.ckpt holds more than weights: take the model's \.safe"):
        opened(tmp_path / "evil.ckpt", allow_pickle=True)
    assert not (tmp_path / "ran").exists()


def test_the_index_of_a_configuration_is_checked_as_any_other(models, tmp_path):
    config = shutil.copytree(models / "stable_diffusion", tmp_path / "config")
    index = config / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"unet": ["my_code", "MyUNet"]}))
    with pytest.raises(Refused, match="recipes cannot run code"):
        facts_of(opened(models / "stable_diffusion.safetensors", config))


def test_a_checkpoint_that_is_not_in_its_folder(models):
    files = open_files(str(models), base=models, key="model.id")
    with pytest.raises(ModelError) as found:
        open_checkpoint(files, "zz.safetensors", None, offline=True, allow_pickle=False)
    there = ", ".join(f"{family}.safetensors" for family in sorted(FAMILIES))
    assert str(found.value) == f"{models} has no file zz.safetensors: correct model.file; it has {there}"
