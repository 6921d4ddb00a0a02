"""What is hidden of a text, and what is left as it is."""

import io
import json
import sys

import pytest
from PIL import Image

from runner.language.problems import RecipeProblems, render
from runner.language.recipe import read
from runner.outputs import png
from runner.outputs.folder import RunFolder
from runner.progress import create
from runner.secrets import holds_token, masked, redact, variable
from runner.shown import shown
from runner.view import View

TOKEN = "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567"


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "k3y.with(marks)")
    monkeypatch.setenv("A_SECRET", "k3y.with(marks)+more")
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    monkeypatch.setenv("SHORT_TOKEN", "abc12")
    monkeypatch.setenv("SORT_KEY", "learning_rate")
    monkeypatch.setenv("SHARD_KEY", "20240131")
    monkeypatch.setenv("DB_PASSWORD", 'pa"ss\\wo9rd')
    monkeypatch.setenv("WIKI_PASSWORD", "it's: a #secret")
    monkeypatch.setenv("SSH_KEY", "first line of it\nsecond line of it\n")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"401 for {TOKEN}: no", "401 for hf_***: no"),
        ("hf_oauth_eyJhbGci.OiJFZ-ERTQ hf_jwt_eyJhbGci.OiJ_x", "hf_*** hf_***"),
        ("hf_oauth and hf_hub", "hf_oauth and hf_hub"),
        ("k3y.with(marks)", "***"),
        ("a k3y.with(marks)+more b", "a *** b"),
        ("/home/postgres/abc12", "/home/postgres/abc12"),
        ("learning_rate: 20240131", "learning_rate: 20240131"),
        ('{"a": "pa\\"ss\\\\wo9rd"}', '{"a": "***"}'),
        ("a: 'it''s: a #secret'", "a: '***'"),
        ("key: second line of it", "key: ***"),
        ("http://ann:pass@proxy:80/x and a@b://c", "http://***@proxy:80/x and a@b://c"),
    ],
)
def test_secrets_are_hidden(text, left):
    assert redact(text) == left
    assert len(masked(text)) == len(text)
    assert shown(text) == left


def test_a_text_that_is_cut_shows_no_half_of_a_token():
    for before in range(60, 110):
        assert "JkLm" not in shown(before * "x" + TOKEN + 200 * "y")


@pytest.mark.parametrize("name", ["STRIPE_KEY", "my_passphrase", "DB_PASS", "PGPASSWORD", "AWS_CREDENTIALS", "X_PWD"])
def test_names_that_tell_of_secrets(name, monkeypatch):
    monkeypatch.setenv(name, "s3cret-value")
    assert redact("a s3cret-value b") == "a *** b"
    assert variable("a s3cret-value b") == name


@pytest.mark.parametrize("name", ["OLDPWD", "KEYBOARD", "TOKENIZERS_PARALLELISM"])
def test_names_that_do_not(name, monkeypatch):
    monkeypatch.setenv(name, "s3cret-value")
    assert redact("a s3cret-value b") == "a s3cret-value b"
    assert variable("a s3cret-value b") is None


def test_only_the_hubs_tokens_are_a_recipes_fault():
    assert holds_token(f"by {TOKEN}") and holds_token("hf_oauth_eyJhbGciOiJFZERT")
    assert not holds_token("k3y.with(marks)")


def test_a_stream_hides_them():
    stream = io.StringIO()
    View(stream).write(f"Bearer {TOKEN}\n")
    assert stream.getvalue() == "Bearer hf_***\n"


def test_nothing_that_a_run_keeps_holds_them(tmp_path):
    folder = RunFolder.create(tmp_path, "x")
    folder.write_text("settled.yaml", f"# {TOKEN}\n")
    folder.write_json("run.json", {"message": TOKEN, TOKEN: ["k3y.with(marks)", 'pa"ss\\wo9rd', 5]})
    folder.append_log({"text": TOKEN})
    folder.save_image("a.png", Image.new("RGB", (2, 2)), {"recipe": TOKEN, "parameters": f"ü {TOKEN}"})
    kept = [path.read_bytes() for path in folder.path.rglob("*") if path.is_file()]
    assert len(kept) == 4
    assert not any(TOKEN.encode() in data or b"k3y.with" in data or b"wo9rd" in data for data in kept)
    assert json.loads((folder.path / "run.json").read_text()) == {"message": "hf_***", "hf_***": ["***", "***", 5]}
    assert png.read(folder.path / "a.png")["parameters"] == "ü hf_***"


def test_events_for_programs_hide_them(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # which the display of events takes for itself
    create(quiet=False, as_json=True).say(f"Bearer {TOKEN}")
    assert json.loads(capsys.readouterr().out)["text"] == "Bearer hf_***"


@pytest.mark.parametrize("format", ["text", "json", "github"])
@pytest.mark.parametrize(
    "text",
    [
        f"version: 1\nname: x\nsampling: {{prompts: [{90 * 'x'} {TOKEN}]}}",
        f"version: 1\nname: {TOKEN}",
        f"version: 1\nname: x\n{TOKEN}: 1",
        f"version: 1\nname: [x  # {TOKEN}",
        f"version: 1\nname: x\nmodel: {{type: pretrained, id: {TOKEN}, family: {TOKEN}}}",
    ],
)
def test_no_problem_shows_a_token(tmp_path, text, format):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeProblems) as caught:
        read(tmp_path / "r.yaml")
    said = render(caught.value.problems, format)
    assert not any(TOKEN[i : i + 6] in said for i in range(3, len(TOKEN) - 6)), said
