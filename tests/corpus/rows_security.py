"""Rows SEC: what a stranger's recipe, model or data set might try."""

import gzip
import io
import json
import os
import tarfile
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from PIL import Image

from runner.models import toys
from tests.corpus.table import case, not_here, recipe, run, toy, validate, write

TOKEN = "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"
PASSWORD = "Tr0ub4dor&3-of-the-environment"
TAGS = [
    *("!!python/object/apply:os.system [touch owned]", "!!python/object/new:os.system [touch owned]"),
    *("!!python/name:os.system x", "!!python/module:os x", "!!python/object:os.system {}", "!!python/tuple [1]"),
    *("!env HOME", "!include secrets.yaml", "!ref x", "!eval 1+1", "!<tag:yaml.org,2002:python/object/apply:eval> [x]"),
]
CODE = [
    *("trust_remote_code", "custom_pipeline", "auto_map", "hooks", "callbacks", "script", "command", "plugins"),
    *("exec", "eval", "import", "python", "_target_", "class_path", "requirements", "shell", "env"),
]
PUBLISHING = ["push", "push_to_hub", "upload", "report_to", "wandb", "tensorboard", "webhook", "notify", "slack"]
GUARDS = ["allow_pickle", "unsafe", "weights_only", "use_safetensors"]
URLS = [
    *("http://127.0.0.1:1/model", "https://huggingface.co/a/b", "file:///etc/passwd", "hf://a/b", "s3://b/k"),
    *("git+ssh://git@host/x", "data:text/plain,x", "HTTP://HOST/x", "\\\\host\\share", "//host/share", "a/../../b"),
]
ESCAPES = ["[/red]", "[link=http://x]x[/link]", "</script><b>", "\x1b]0;owned\x07", "\x1b[2J", "\u202e", "\x9b31m"]
FOLDER = {"type": "folder", "id": "./pictures", "resolution": 16}
SMALL = {"num_inference_steps": 2, "height": 32, "width": 32}


def drawing(id="a/b", **sections):
    return {
        "version": 1,
        "name": "drawn",
        "model": {"type": "pretrained", "id": id},
        "sampling": {"prompts": ["a flower"], **SMALL},
        **sections,
    }


def each(texts, say):
    """The last outcome of several recipes that all must be refused so."""
    for text in texts:
        outcome = validate(text)
        assert outcome.code == 6 and say in outcome.text, (text, outcome.text)
    return outcome


def little_memory(text, most):
    """What `recipe validate` says, which must take less than `most` bytes."""
    path = write(text)
    tracemalloc.start()
    try:
        outcome = recipe("validate", path)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    return outcome


@case("SEC01", "eleven foreign tags", exits=6, says="foreign-tag")
def _(folder):
    outcome = each([f"version: 1\nname: {tag}\nseed: 1\n" for tag in TAGS], ":2:7: ")
    assert [path.name for path in folder.iterdir()] == ["recipe.yaml"]
    return outcome


@case("SEC02", "a bomb of aliases", exits=1, says="alias")
def _(folder):
    lists = "".join(f"{b}: &{b} [{', '.join(10 * [f'*{a}'])}]\n" for a, b in zip("abcdefgh", "bcdefghi"))
    return little_memory(f"a: &a [{', '.join(10 * 'x')}]\n{lists}", 20e6)


@case("SEC02", "a bomb of merge keys", exits=1, says="merge|alias")
def _(folder):
    levels = "".join(f"{b}: &{b}\n  <<: [{', '.join(10 * [f'*{a}'])}]\n" for a, b in zip("abcdefgh", "bcdefghi"))
    return little_memory(f"a: &a {{k: v}}\n{levels}", 20e6)


@case("SEC04", "fifty megabytes", exits=1, says=r"47\.7 MiB; 256 KiB is the most")
def _(folder):
    return little_memory(b"k: v\n" * 10_000_000, 3e6)


@case("SEC04", "a million keys", exits=1, says="256 KiB is the most")
def _(folder):
    return little_memory("".join(f"k{i}: v\n" for i in range(1_000_000)), 3e6)


@case("SEC05", "names that leave the folder", exits=6, says="it names a device on Windows")
def _(folder):
    each([toy(name=name) for name in ("../../x", "/etc/x", "~/x", "C:\\x", "\\\\host\\x", "a/b")], "inside the output")
    return each([toy(name=name) for name in ("nul", "con.txt", "com1")], "refused")


@case("SEC05", "an output that is a path", exits=6, says="--output-dir")
def _(folder):
    return each([toy(output=path) for path in ("../../x", "/etc/x", "~/x")], "refused")


@case("SEC05", "a name with a NUL", exits=1, says="zero byte|control character")
def _(folder):
    return validate('version: 1\nname: "a\\0b"\n')


@case("SEC05", "a link in the output folder", exits=6, says="outputs/toy is a link to")
def _(folder):
    (folder / "elsewhere").mkdir()
    (folder / "outputs").mkdir()
    (folder / "outputs" / "toy").symlink_to(folder / "elsewhere")
    outcome = run(toy())
    assert not list((folder / "elsewhere").iterdir())
    return outcome


@case("SEC07", "ids that are addresses", exits=6, says="refused")
def _(folder):
    keys = ("id", "config")
    sections = [drawing(model={"type": "pretrained", "id": "a/b", key: url}) for url in URLS for key in keys]
    sections += [drawing(sampling={"prompts": ["a"], "init_image": url}) for url in URLS if not url.startswith("a/")]
    return each([*sections, *({**toy(), "data": {**FOLDER, "id": url}} for url in URLS[:-1])], "refused")


@case("SEC08", "keys that ask for code", exits=6, says="refused")
def _(folder):
    top = [drawing(**{key: "me/code"}) for key in CODE]
    return each([*top, *(drawing(model={"type": "pretrained", "id": "a/b", key: True}) for key in CODE)], "refused")


@case("SEC08", "an index that names other modules", exits=6, says="asks for code of its own")
def _(folder):
    (folder / "model").mkdir()
    (folder / "model" / "evil.py").write_text("open('owned', 'w')")
    for value in (["evil", "Evil"], ["os", "system"], ["evil.py", "X"], ["torch", "load"], ["builtins", "exec"]):
        index = {"_class_name": "StableDiffusionPipeline", "unet": value}
        (folder / "model" / "model_index.json").write_text(json.dumps(index))
        outcome = run(drawing("./model"))
        assert outcome.code == 6, outcome.text
    assert not (folder / "owned").exists()
    return outcome


@case("SEC08", "a class that the family has not", exits=4, says="of class AutoModel: this version of recipe reads")
def _(folder):
    (folder / "model").mkdir()
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["transformers", "AutoModel"]}
    (folder / "model" / "model_index.json").write_text(json.dumps(index))
    return run(drawing("./model"))


@case("SEC08", "auto_map in the files of a part", exits=6, says="sets auto_map: recipes cannot run code")
def _(folder):
    toys.stable_diffusion(folder / "model")
    places = ("unet/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json")
    for name in (*places, "vae/config.json", "scheduler/scheduler_config.json"):
        path = folder / "model" / name
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), "auto_map": {"AutoModel": "evil.Evil"}}))
        outcome = run(drawing("./model"))
        assert outcome.code == 6 and name in outcome.text, outcome.text
        path.write_text(before)
    return outcome


@case("SEC10", "secrets of the environment and of a recipe", exits=0)
def _(folder):
    with mock.patch.dict(os.environ, {"HF_TOKEN": TOKEN, "MY_PASSWORD": PASSWORD}):
        (folder / "pictures").mkdir()
        (folder / "pictures" / f"{TOKEN}.png").write_bytes(b"no picture")
        quiet = run({**toy(), "data": FOLDER}, "--debug")
        assert quiet.code == 3 and "hf_***.png" in quiet.text
        outcome = run({**toy(), "description": f"by {PASSWORD}"}, "--debug", "--format", "json")
        said = quiet.text + outcome.text + recipe("show", "outputs/toy/latest").text
    written = b"".join(path.read_bytes() for path in folder.glob("outputs/**/*") if path.is_file())
    assert b"by ***" in written
    for secret in (TOKEN, PASSWORD):
        assert secret not in said and secret.encode() not in written
    return outcome


@case("SEC10", "a secret in a path", exits=6, says=r"data\.id holds the value of the environment variable MY_KEY")
def _(folder):
    with mock.patch.dict(os.environ, {"MY_KEY": PASSWORD}):
        (folder / PASSWORD).mkdir()
        Image.new("RGB", (16, 16)).save(folder / PASSWORD / "1.png")
        outcome = run({**toy(), "data": {**FOLDER, "id": f"./{PASSWORD}"}})
    assert PASSWORD not in outcome.text and not (folder / "outputs").exists()
    return outcome


@case("SEC10", "a secret in a description, shown and repeated", exits=0)
def _(folder):
    with mock.patch.dict(os.environ, {"MY_PASSWORD": PASSWORD}):
        first = run({**toy(), "description": PASSWORD})
        shows = [recipe("show", "recipe.yaml", *format).text for format in ((), ("--format", "json"))]
        outcome = recipe("run", "outputs/toy/001")
    assert first.code == 0, first.text
    assert all(PASSWORD not in text and "***" in text for text in (*shows, recipe("show", "outputs/toy/001").text))
    return outcome


@case(
    "SEC10", "a token for the name of a class", exits=6, says=r"the class 'hf_\*\*\*' of the data holds a secret: call"
)
def _(folder):
    for name in ("rose", TOKEN):
        (folder / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / "pictures" / name / "1.png")
    outcome = run({**toy(), "data": FOLDER})
    assert TOKEN not in outcome.text
    return outcome


@case("SEC10", "a token in a prompt", exits=6, says=r"holds a token.*\[secret\]")
def _(folder):
    outcome = validate(drawing(sampling={"prompts": [f"a flower by {TOKEN}"], **SMALL}))
    assert TOKEN not in outcome.text
    return outcome


@case("SEC11", "markup and escapes in a prompt", exits=(0, 1), says=r"control character|pictures")
def _(folder):
    for text in ESCAPES:
        outcome = validate(drawing(description=text, sampling={"prompts": [text], **SMALL}))
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(outcome.text), outcome.text
        if outcome.code == 0:
            said = recipe("show", "recipe.yaml").text
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(said), said
    toys.stable_diffusion(folder / "model")
    return run(drawing("./model", sampling={"prompts": ["[/red] [link=http://x]x[/link]"], **SMALL}))


@contextmanager
def data_set(folder, **members):
    """The hub's cache holds data set me/tar, one archive of these members: bytes, or the kind of what is no file."""
    commit = 40 * "0"
    storage = folder / "hub" / "datasets--me--tar"
    (storage / "snapshots" / commit / "train").mkdir(parents=True)
    (storage / "refs").mkdir()
    (storage / "refs" / "main").write_text(commit)
    with tarfile.open(storage / "snapshots" / commit / "train" / "0.tar", "w") as archive:
        for name, member in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(member, bytes):
                info.size = len(member)
                archive.addfile(info, io.BytesIO(member))
            else:
                info.type, info.linkname = member.encode(), "/etc/passwd"
                archive.addfile(info)
    with mock.patch("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub")):
        yield {**toy(), "data": {"type": "hub", "id": "me/tar", "resolution": 16}}


def picture():
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 30, 90)).save(file, "PNG")
    return file.getvalue()


@case("SEC13", "an archive with members that lead elsewhere, links, devices, pickles", exits=0)
def _(folder):
    pickle = b"cos\nsystem\n(S'touch owned'\ntR."
    places = {name: picture() for name in ("../../up.png", "/abs.png", "a/../../b.png", "c.png")}
    special = {"symbolic.png": "2", "hard.png": "1", "device.png": "3", "fifo.png": "6"}  # tar's own numbers
    code = dict.fromkeys(("c.pickle", "c.pyd", "c.py", "c.pth"), pickle)
    with data_set(folder, **places, **code, **special) as recipe:
        outcome = run(recipe, "--offline")
    assert "4 of 4 pictures used" in outcome.text, outcome.text
    assert not list(folder.rglob("owned")) and not list(folder.rglob("*.p*[!g]"))
    assert not (folder.parent / "up.png").exists() and not Path("/abs.png").exists()
    return outcome


@case("SEC13", "a member that unpacks without end", exits=3, says=r"bomb\.png in an archive .* over 256 MiB")
def _(folder):
    with data_set(folder, **{"bomb.png": bytes(2**28 + 1)}) as recipe:
        return run(recipe, "--offline")


@case("SEC13", "members that are packed once more are not unpacked", exits=0, says="1 of 1 pictures used")
def _(folder):
    with data_set(folder, **{"a.png": picture(), "a.txt.gz": gzip.compress(bytes(2**20))}) as recipe:
        return run(recipe, "--offline")


@case("SEC14", "a regular expression where a pattern is a glob", exits=1, says=r"has no part.*\[freeze\]")
def _(folder):
    return validate({**toy(), "freeze": ["(a+)+$" + 40 * "a"]})


@case("SEC14", "a glob of forty stars", exits=1, says=r"has no part.*\[freeze\]")
def _(folder):
    return validate({**toy(), "freeze": [40 * "*a" + "b"]})


@case("SEC16", "a settled recipe that was edited", exits=6, says="'trust_remote_code' is refused")
def _(folder):
    (folder / "outputs" / "drawn" / "001").mkdir(parents=True)
    write(drawing(trust_remote_code=True), "outputs/drawn/001/settled.yaml")
    return recipe("run", "outputs/drawn/001")


not_here("SEC16", "there is no lock file: settled.yaml holds the commits, and is read and checked as any recipe is")


@case("SEC17", "keys that publish", exits=6, says="command-line choice")
def _(folder):
    top = [drawing(**{key: True}) for key in PUBLISHING]
    inner = [toy(training={key: True}) for key in PUBLISHING]
    return each([*top, *inner], "command-line choice")


@case("SEC17", "keys that weaken a guard", exits=6, says="weakening a guard is a command-line choice")
def _(folder):
    return each([drawing(**{key: True}) for key in GUARDS], "command-line choice")
