"""Rows MOD: models that are cut, damaged, of another kind, or not to be had."""

import atexit
import os
import shutil
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

import torch
from huggingface_hub import close_session, constants
from safetensors.torch import load_file, save_file

from runner.models import toys
from tests.corpus.rows_security import TOKEN, drawing
from tests.corpus.table import case, run
from tests.fake_hub import ERRORS, serve
from tests.test_model_faults import FAULTS, UNET, described


@cache
def toy_model():
    """A tiny Stable Diffusion, made once."""
    folder = Path(mkdtemp(prefix="recipe-corpus-"))
    atexit.register(shutil.rmtree, folder)
    toys.stable_diffusion(folder)
    return folder


def drawn(folder, *damages, says=""):
    """How drawing ends with the model damaged in one way after another; each must be an error of the model."""
    for damage in damages:
        shutil.copytree(toy_model(), folder / "model")
        damage(folder / "model")
        outcome = run(drawing("./model"))
        assert outcome.code == 4 and says in outcome.text, outcome.text
        assert not list(folder.rglob("samples/*.png"))
        shutil.rmtree(folder / "model")
    return outcome


@contextmanager
def hub(folder, repositories, trouble=None):
    """This process asks a hub of our own."""
    with serve(repositories, trouble) as url, ExitStack() as stack:
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        changes = {"ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
        for name, value in {**changes, "HF_HUB_CACHE": str(folder / "hub")}.items():
            stack.enter_context(mock.patch.object(constants, name, value))
        stack.enter_context(mock.patch.dict(os.environ, {"HF_TOKEN": TOKEN, "no_proxy": "*"}))
        close_session()
        stack.callback(close_session)
        yield


@case("MOD01", "weights cut short, empty, a placeholder, a web page", exits=4, says="is a web page")
def _(folder):
    return drawn(folder, *(FAULTS[name][0] for name in ("cut short", "empty", "LFS pointer", "web page")), says=UNET)


@case("MOD01", "a header of 2^62 bytes", exits=4, says="its header is of 4,611,686,018,427,387,904 bytes")
def _(folder):
    def long(model):
        (model / UNET).write_bytes((2**62).to_bytes(8, "little") + (model / UNET).read_bytes()[8:])

    return drawn(folder, long)


@case("MOD01", "tensors that are missing, or too many, in any part", exits=4, says="surplus of extra", slow=True)
def _(folder):
    def edited(name, edit):
        def damage(model):
            held = load_file(model / name)
            edit(held)
            save_file(held, model / name, metadata={"format": "pt"})

        return damage

    for name in (UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        lacking = edited(name, lambda held: held.pop(min(held)))
        surplus = edited(name, lambda held: held.update(extra=torch.zeros(2)))
        outcome = drawn(folder, lacking, surplus, says=f"{name.partition('/')[0]} does not fit its config.json")
    return outcome


@case("MOD03", "NaN in the weights", exits=4, says=r"NaN in conv_in\.weight")
def _(folder):
    return drawn(folder, FAULTS["NaN"][0])


@case("MOD04", "a configuration that is no JSON", exits=4, says=r"unet/config\.json is no readable JSON")
def _(folder):
    return drawn(folder, FAULTS["no JSON"][0])


@case("MOD04", "absurd sizes", exits=4, says=r"unet/config\.json")
def _(folder):
    layers = described("unet/config.json", layers_per_block=10**6)
    wide = described("text_encoder/config.json", intermediate_size=10**12)
    return drawn(folder, layers, wide, FAULTS["absurd sizes"][0], says="config.json")


@case("MOD04", "classes that are not known", exits=4, says="MyTextModel|gpt_evil")
def _(folder):
    named = described("unet/config.json", _class_name="MyUNet")
    listed = described("model_index.json", text_encoder=["transformers", "MyTextModel"])
    typed = described("text_encoder/config.json", model_type="gpt_evil", architectures=["Evil"])
    return drawn(folder, named, listed, typed, says="class")


@case("MOD06", "a hub id that is gated, private, gone; a revision that is not there", exits=4, says="no revision 'v9'")
def _(folder):
    causes = {"gated/set": "is gated", "gone/set": "or it is private", "disabled/set": "is disabled"}
    with hub(folder, {"me/sd": {"model_index.json": b"{}"}}):
        for id, says in causes.items():
            outcome = run(drawing(id), "--debug")
            assert outcome.code == 4 and says in outcome.text and TOKEN not in outcome.text, outcome.text
        return run(drawing(model={"type": "pretrained", "id": "me/sd", "revision": "v9"}))


@case("MOD06", "a hub that says the token back", exits=4, says="the hub answers 400 for model leaky/set")
def _(folder):
    leaky = {"leaky/set": (400, {"X-Error-Message": f"Bearer {TOKEN} is invalid"})}
    with hub(folder, {}), mock.patch.dict(ERRORS, leaky):
        for options in (["--debug"], ["--debug", "--format", "json"], []):
            outcome = run(drawing("leaky/set"), *options)
            assert TOKEN not in outcome.text and ("hf_***" in outcome.text) == ("--debug" in options), outcome.text
    return outcome


@case("MOD07", "a pickle instead of weights", exits=6, says="holds more than weights")
def _(folder):
    class Evil:
        def __reduce__(self):
            return (open, (str(folder / "owned"), "w"))

    torch.save({**load_file(toy_model() / UNET), "conv_in.bias": Evil()}, folder / "model.ckpt")
    outcome = run(drawing("./model.ckpt"))
    assert outcome.code == 6 and "--allow-pickle reads it with weights_only" in outcome.text
    outcome = run(drawing("./model.ckpt"), "--allow-pickle")
    assert not (folder / "owned").exists()
    return outcome


@case(
    "MOD09",
    "a download that is cut goes on; a wrong sha256 is found",
    exits=4,
    says="came damaged .its sha256 is not",
    slow=True,
)
def _(folder):
    files = {path.relative_to(toy_model()).as_posix(): path for path in toy_model().rglob("*") if path.is_file()}
    repository = {name: path.read_bytes() for name, path in files.items()}
    with hub(folder, {"me/sd": repository}, {("me/sd", UNET): "cut"}):
        outcome = run(drawing("me/sd"))
        assert outcome.code == 0, outcome.text
    shutil.rmtree(folder / "hub")
    with hub(folder, {"me/sd": repository}, {("me/sd", UNET): "flipped"}):
        return run(drawing("me/sd"))
