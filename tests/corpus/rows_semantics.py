"""Rows SEM: keys that do not fit each other, the data or the model."""

from pathlib import Path

from PIL import Image

from runner.models import toys
from tests.corpus.table import case, not_here, recipe, run, told, toy, write
from tests.training.finetune import recipe as tuned

PRETRAINED = {"version": 1, "name": "x", "model": {"type": "pretrained", "id": "a/b"}}


def flowers(folder="flowers", *names, size=(20, 24)):
    """Small pictures in a folder of the working directory."""
    for name in names or ("a.png", "b.png", "c.png"):
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (200, 30, 40)).save(path)
    return folder


def in_folder(folder, **sections):
    """A toy's recipe that learns from a folder."""
    values = toy(**sections)
    resolution = values["data"]["resolution"]
    values["data"] = {"type": "folder", "id": f"./{folder}", "resolution": resolution, **sections.get("data", {})}
    return values


FOUR = {"block_out_channels": [8] * 4, "down_block_types": ["DownBlock2D"] * 4, "up_block_types": ["UpBlock2D"] * 4}
told(
    "SEM01",
    "513 of a UNet of four levels",
    toy(data={"resolution": 513}, model=FOUR),
    "resolution 513 is not a multiple of 8: 4 levels halve it 3 times; nearest 512 or 520",
)
told(
    "SEM01", "17 of a UNet of two levels", toy(data={"resolution": 17}), "17 is not a multiple of 2: .*nearest 16 or 18"
)
told(
    "SEM01", "a height to draw", PRETRAINED | {"sampling": {"prompts": ["x"], "height": 513}}, "height .*multiple of 8"
)


@case("SEM02", "batch_size above the pictures there are", exits=0, says="done|model")
def _(folder):
    outcome = run(in_folder(flowers(), training={"batch_size": 8, "max_train_steps": 2}))
    assert (folder / "outputs/toy/001/model").is_dir()
    return outcome


not_here("SEM02", "no epoch has 0 batches: batches go on over the end of an epoch, so 3 pictures make a batch of 8")


def captioned(names, having):
    """A run that teaches Stable Diffusion pictures of which only some have captions."""
    toys.stable_diffusion(Path("sd"))
    flowers("flowers", *[f"{name}.png" for name in names])
    for name in having:
        Path("flowers", f"{name}.txt").write_text(f"flower {name}")
    return run(tuned("./sd") | {"data": {"type": "folder", "id": "./flowers", "resolution": 32}})


@case("SEM04", "some have no caption", exits=3, says=r"2 of 8 pictures have no caption \(f\.png, g\.png\): add the")
def _(folder):
    return captioned("abcdefgh", "abcdeh")


@case("SEM04", "none has one: five are named", exits=3, says=r"7 of 7 .* \(a\.png, .*, e\.png and 2 more\): add")
def _(folder):
    return captioned("abcdefg", "")


told(
    "SEM05",
    "a flow sampler of a pixel UNet",
    toy(sampling={"scheduler": {"type": "FlowMatchEulerDiscrete"}}),
    "FlowMatchEulerDiscrete draws from flow matching models; a pixel_unet is none: use DDIM or another",
)
told("SEM05", "a sampler for the training", toy(scheduler={"type": "EulerDiscrete"}), r"scheduler\.type|sampler")
told("SEM05", "a prediction that no sampler knows", toy(scheduler={"prediction_type": "flow"}), "prediction_type")


@case("SEM05", "a flow sampler of a saved Stable Diffusion, before its weights are read", exits=1, says="FlowMatch")
def _(folder):
    toys.stable_diffusion(folder / "sd")
    values = {"model": {"type": "pretrained", "id": "./sd"}, "scheduler": {"type": "FlowMatchEulerDiscrete"}}
    return recipe("run", write(PRETRAINED | {"sampling": {"prompts": ["x"]}} | values), "--dry-run")


READ_AS_DATA = r"yaml:\d+:\d+: pictures would be written to \S+, which lies in this folder, and be read as data"


def writes(what, id, *command, says=READ_AS_DATA):
    """Enters a command that would write pictures into its own data; nothing is written there."""

    @case("SEM07", what, exits=1, says=says)
    def _(folder):
        flowers("outputs/toy")
        values = in_folder("outputs/toy") | {"data": {"type": "folder", "id": id, "resolution": 16}}
        verb, *arguments = command
        outcome = recipe(verb, write(values), *arguments)
        assert sorted(p.name for p in Path("outputs").rglob("*")) == ["a.png", "b.png", "c.png", "toy"]
        return outcome


writes("the run's own folder", "./outputs/toy", "run")
writes("the folder of all runs", "./outputs", "run")
writes("the working directory", "./", "run", "--dry-run")
writes("--output-dir inside the data", "./outputs/toy", "run", "--output-dir", "outputs/toy/drawn")
writes("a contact sheet", "./", "data")
writes("an export", "./outputs/toy", "data", "--export", "outputs/toy/x", says="choose another place with --export")


@case("SEM07", "through a link", exits=1, says=READ_AS_DATA)
def _(folder):
    flowers()
    Path("outputs").symlink_to("flowers")
    return run(in_folder("flowers"))


@case("SEM07", "beside the data", exits=0)
def _(folder):
    flowers("outputs")
    return recipe("run", write(in_folder("outputs")), "--dry-run", "--output-dir", "outputs/.runs")


for part, targets, says in [
    ("unet", ["to_q", "to_qq"], "0 modules of the unet match 'to_qq'; candidates: .*to_k.*to_q"),
    ("text_encoder", ["to_q"], "0 modules of the text_encoder match 'to_q'; candidates: .*q_proj"),
]:

    @case("SEM08", f"{targets} of the {part}", exits=1, says=says)
    def _(folder, part=part, targets=targets):
        toys.stable_diffusion(folder / "sd")
        adapter = {"type": "lora", "rank": 2, "parts": [part], "target_modules": targets}
        return recipe("run", write(tuned("./sd", adapter=adapter)), "--dry-run")
