"""The parts of saved pipelines: found, refused, loaded as diffusers loads them."""

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from runner.errors import ModelError, Refused
from runner.models import toys
from runner.models.files import open_files
from runner.models.index import read_index
from runner.models.parts import find_part, load_part, part_size, skeleton
from tests.data.conftest import Remembers
from tests.models.drawing import facts_of

UNET = "unet/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toys") / "sd"
    toys.stable_diffusion(folder, safety_checker=True)
    return folder


@pytest.fixture
def model(saved, tmp_path):
    """A copy of a tiny Stable Diffusion that a test may break."""
    return shutil.copytree(saved, tmp_path / "sd")


def opened(folder):
    return open_files(str(folder), base=folder, key="model.id")


def find(folder, name="unet", cls="UNet2DConditionModel", variant=None, allow_pickle=False):
    return find_part(opened(folder), name, cls, variant=variant, allow_pickle=allow_pickle)


def load(folder, *args, dtype=torch.float32, **options):
    part, config = find(folder, *args, **options)
    bare = skeleton(part.cls, config) if "model" in part.names[-1] else None
    return load_part(part, part.files.fetch(part.names, Remembers()), dtype=dtype, skeleton=bare)


def change(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def same(ours, theirs):
    a, b = ours.state_dict(), theirs.state_dict()
    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_part_is_the_one_that_the_plain_pipeline_loads(saved, dtype):
    pipe = DiffusionPipeline.from_pretrained(saved, dtype=dtype)
    parts = read_index(opened(saved)).parts
    assert set(parts) == {name for name, part in pipe.components.items() if part is not None}
    for name, (_, cls) in parts.items():
        ours, theirs = load(saved, name, cls, dtype=dtype), getattr(pipe, name)
        assert type(ours) is type(theirs)
        if isinstance(ours, torch.nn.Module):
            assert same(ours, theirs)
            assert not ours.training


@pytest.mark.parametrize("family", ["stable_diffusion_xl", "sdxl_refiner", "stable_diffusion_3", "flux"])
def test_the_parts_of_every_family_load(tmp_path, family):
    getattr(toys, family)(tmp_path / "x")
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "x", dtype=torch.float32)
    for name, (_, cls) in read_index(opened(tmp_path / "x")).parts.items():
        ours = load(tmp_path / "x", name, cls)
        assert type(ours) is type(getattr(pipe, name))
        assert not isinstance(ours, torch.nn.Module) or same(ours, getattr(pipe, name))


def test_a_part_names_its_files_and_their_size(saved):
    part, config = find(saved)
    assert part.names == ("unet/config.json", UNET)
    assert part_size(part) == sum((saved / name).stat().st_size for name in part.names)
    assert config["_class_name"] == "UNet2DConditionModel"
    tokenizer, _ = find(saved, "tokenizer", "CLIPTokenizer")
    assert set(tokenizer.names) == {f"tokenizer/{path.name}" for path in (saved / "tokenizer").iterdir()}


def test_a_part_may_lie_at_the_root(saved):
    vae = saved / "vae"
    part, _ = find_part(opened(vae), "vae", "AutoencoderKL", variant=None, allow_pickle=False, folder="")
    assert part.names == ("config.json", "diffusion_pytorch_model.safetensors")
    assert load_part(part, vae, dtype=torch.float32).config.latent_channels == 4


def test_shards_load_as_one(model):
    pipe = DiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    for name in (UNET, TEXT):
        (model / name).unlink()
    pipe.unet.save_pretrained(model / "unet", max_shard_size="200KB")
    pipe.text_encoder.save_pretrained(model / "text_encoder", max_shard_size="50KB")
    part, _ = find(model)
    assert len(part.names) > 4
    assert part.names[1] == f"{UNET}.index.json"
    assert same(load(model), pipe.unet)
    assert same(load(model, "text_encoder", "CLIPTextModel"), pipe.text_encoder)


def test_a_shard_that_is_missing_or_elsewhere_is_said(model):
    index = model / f"{UNET}.index.json"
    (model / UNET).rename(model / "unet" / "one.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(ModelError, match=r"unet/two\.safetensors is missing"):
        find(model)
    index.write_text(json.dumps({"weight_map": {"a": "../one.safetensors"}}))
    with pytest.raises(Refused, match=r"names \.\./one\.safetensors: a shard lies beside its index"):
        find(model)
    index.write_text(json.dumps({"weight_map": 3}))
    with pytest.raises(ModelError, match="is no index of shards"):
        find(model)


def test_a_variant_is_taken_where_a_part_has_it(model):
    pipe = DiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipe.unet.half().save_pretrained(model / "unet", variant="fp16")
    part, _ = find(model, variant="fp16")
    assert part.names[1] == "unet/diffusion_pytorch_model.fp16.safetensors"
    assert same(load(model, variant="fp16", dtype=torch.float16), pipe.unet)
    plain, _ = find(model, "text_encoder", "CLIPTextModel", variant="fp16")  # as diffusers
    assert (plain.names[1], plain.variant) == (TEXT, None)
    with pytest.raises(ModelError, match="has no variant bf16: it has fp16 beside the plain weights"):
        find(model, variant="bf16")


def test_a_model_of_variants_only_says_which(model):
    (model / UNET).rename(model / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    with pytest.raises(ModelError, match=r"unet has weights only as variant fp16: write model\.variant"):
        find(model)


def test_no_weights_at_all(model):
    (model / UNET).unlink()
    with pytest.raises(ModelError, match=rf"{UNET} is missing") as caught:
        find(model)
    assert caught.value.exit_code == 4


def test_pickles_are_refused_unless_allowed(model):
    pipe = DiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    for name, part, bin in (
        (UNET, pipe.unet, "unet/diffusion_pytorch_model.bin"),
        (TEXT, pipe.text_encoder, "text_encoder/pytorch_model.bin"),
    ):
        (model / name).unlink()
        torch.save(part.state_dict(), model / bin)
    with pytest.raises(
        Refused, match=r"bin holds the weights only as pickle: take .* --allow-pickle reads it with"
    ) as caught:
        find(model)
    assert caught.value.exit_code == 6
    assert same(load(model, allow_pickle=True), pipe.unet)
    assert same(load(model, "text_encoder", "CLIPTextModel", allow_pickle=True), pipe.text_encoder)


class Harm:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_an_allowed_pickle_runs_no_code(model, tmp_path):
    (model / UNET).unlink()
    torch.save({"x": Harm(tmp_path / "ran"), "pad": torch.zeros(400_000)}, model / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(Refused, match="unet holds more than weights"):
        load(model, allow_pickle=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("key", "code"), [("auto_map", {"AutoModel": "x.y"}), ("trust_remote_code", True)])
def test_a_part_that_asks_for_code_is_refused(model, key, code):
    path = model / "unet/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: code}))
    with pytest.raises(Refused, match=f"unet/config.json sets {key}: recipes cannot run code"):
        find(model)


def test_a_class_that_is_not_listed_is_never_looked_up(model):
    with pytest.raises(ModelError, match=r"the model's unet is of class os\.system, which this version"):
        find(model, cls="os.system")


@pytest.mark.parametrize(
    ("part", "cls", "other"),
    [
        ("unet", "UNet2DConditionModel", "vae"),
        ("text_encoder", "CLIPTextModel", "unet"),
        ("vae", "AutoencoderKL", "unet"),
    ],
)
def test_a_folder_of_another_part_is_said(model, part, cls, other):
    shutil.rmtree(model / part)
    shutil.copytree(model / other, model / part)
    with pytest.raises(ModelError, match=rf"{part}/config\.json is of class .* where {cls} belongs"):
        find(model, part, cls)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"block_out_channels": [10**6, 10**6]},
            r"of [\d,]+ numbers and its weights have [\d,]+ bytes, too few",
        ),
        (
            {"layers_per_block": 10**9},
            r"builds no UNet2DConditionModel \(ValueError: layers_per_block is 1,000,000,000",
        ),
        ({"block_out_channels": [1, "x"]}, "its configuration builds no UNet2DConditionModel"),
        ({"down_block_types": ["os.system"]}, "its configuration builds no UNet2DConditionModel"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "is of quantized or renamed weights"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_said_before_memory_is_taken(model, changes, text):
    path = model / "unet/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelError, match=text) as caught:
        find(model)
    assert "unet/config.json" in str(caught.value)


@pytest.mark.parametrize("name", [UNET, TEXT])
def test_a_file_that_is_cut_is_said_with_its_sizes(model, name):
    data = (model / name).read_bytes()
    (model / name).write_bytes(data[:-1])
    part, cls = ("unet", "UNet2DConditionModel") if name == UNET else ("text_encoder", "CLIPTextModel")
    with pytest.raises(ModelError, match=rf"{name} is cut short: .* of .*; get the file again"):
        load(model, part, cls)


PARTS = [("unet", "UNet2DConditionModel", UNET), ("text_encoder", "CLIPTextModel", TEXT)]


@pytest.mark.parametrize(("part", "cls", "name"), PARTS)
def test_missing_and_surplus_tensors_and_other_shapes_are_said(model, part, cls, name):
    key = sorted(load_file(model / name))[0]
    gone = {}

    def take(tensors):
        gone[key] = tensors.pop(key)

    change(model / name, take)
    with pytest.raises(ModelError, match=rf"{part} does not fit its config\.json: its weights lack ") as caught:
        load(model, part, cls)
    mend = "; get its weights and its config.json again, both of the same model"
    assert str(caught.value).endswith(key.removeprefix("text_model.") + mend)
    change(model / name, lambda tensors: tensors.update({key: gone[key], "surplus.weight": torch.zeros(2)}))
    with pytest.raises(ModelError, match=r"its weights have a surplus of surplus\.weight; get "):
        load(model, part, cls)

    def reshape(tensors):
        del tensors["surplus.weight"]
        tensors[key] = torch.zeros(7)

    change(model / name, reshape)
    with pytest.raises(ModelError) as caught:
        load(model, part, cls)
    assert "7" in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("part", "cls", "name"), PARTS)
def test_nan_is_said_by_tensor(model, part, cls, name):
    key = next(key for key in sorted(load_file(model / name)) if key.endswith("weight"))

    def spoil(tensors):
        tensors[key].view(-1)[3] = float("nan")

    change(model / name, spoil)
    with pytest.raises(ModelError, match=rf"{part} holds NaN in "):
        load(model, part, cls)


def test_an_encoder_saved_by_transformers_4_loads(model, saved):
    """SD 1.x as it was published: a text_model prefix and the buffer position_ids."""
    tensors = load_file(model / TEXT)
    old = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in tensors.items()}
    save_file(
        old | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, model / TEXT, metadata={"format": "pt"}
    )
    assert same(load(model, "text_encoder", "CLIPTextModel"), load(saved, "text_encoder", "CLIPTextModel"))


def test_a_feature_extractor_under_its_old_name_loads(model):
    assert type(load(model, "feature_extractor", "CLIPFeatureExtractor")).__name__.startswith("CLIPImageProcessor")


def test_a_tokenizer_without_its_words_is_said(model):
    for path in (model / "tokenizer").iterdir():
        path.unlink()
    with pytest.raises(ModelError, match=r"tokenizer/tokenizer\.json is missing"):
        find(model, "tokenizer", "CLIPTokenizer")
    (model / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        load(model, "tokenizer", "CLIPTokenizer")


@pytest.mark.parametrize(
    ("part", "added", "error", "said"),
    [
        ("text_encoder", {"attn_implementation": "stranger/kernel"}, Refused, "sets attn_implementation"),
        ("text_encoder", {"_attn_implementation_internal": "stranger/kernel"}, Refused, "sets _attn_implementation_in"),
        ("text_encoder", {"text_config": {"auto_map": {"AutoModel": "x.y"}}}, Refused, "sets auto_map"),
        ("text_encoder", None, ModelError, "is an adapter inside a model"),
    ],
)
def test_what_transformers_would_load_by_itself_is_not_let_in(tmp_path, part, added, error, said):
    toys.stable_diffusion(tmp_path)
    config = tmp_path / part / "config.json"
    if added is None:
        config.with_name("adapter_config.json").write_text("{}")
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | added))
    with pytest.raises(error, match=said):
        facts_of(tmp_path)
