"""What is wrong with a weight file is told from its header, before anything is loaded."""

import json
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from runner.errors import ModelError, Refused
from runner.models.files import open_files
from runner.models.weights import check_finite, check_pickle, read_header

TENSORS = {"a.weight": torch.zeros(2, 3), "b": torch.zeros((), dtype=torch.float16), "c": torch.zeros(0, 4)}
WHOLE = save(TENSORS, metadata={"format": "pt"})


@pytest.fixture
def header(tmp_path):
    def read(data):
        path = tmp_path / "x.safetensors"
        path.write_bytes(data)
        return read_header(open_files(str(path), base=tmp_path, key="model.id"), path.name)

    return read


def with_header(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_a_header_tells_formats_and_shapes(header):
    found = header(WHOLE)
    assert {key: shape.shape for key, shape in found.items()} == {"a.weight": (2, 3), "b": (), "c": (0, 4)}
    assert found["b"].dtype == "F16"


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
NO_TENSORS = "is damaged (its header is no description of tensors): get the file again"


def one(size=8, **changes):
    return with_header({"a": F32 | changes}, bytes(size))


DAMAGE = {
    "lfs": (LFS, "is a Git LFS placeholder, not the weights: run 'git lfs pull' in the model's folder"),
    "html": (b"<!DOCTYPE html><html>login</html>", "is a web page, not the weights: download the file itself"),
    "html in capitals": (b"\n<HTML><head></head></HTML>", "is a web page, not the weights"),
    "empty": (b"", "is empty: get the file again"),
    "four bytes": (b"\x01\0\0\0", "is cut short: 4 bytes; get the file again"),
    "in the header": (WHOLE[:40], "is cut short: 40 bytes; get the file again"),
    "in the tensors": (WHOLE[:-3], f"is cut short: {len(WHOLE) - 3} bytes of {len(WHOLE)} bytes; get the file again"),
    "longer": (WHOLE + b"\0", "is damaged (its header describes less than the file holds)"),
    "length 2^62": (struct.pack("<Q", 2**62) + b"{}", "is damaged (its header is of 4,611,686,018,427,387,904 bytes)"),
    "no json": (with_header(b"{oops}"), NO_TENSORS),
    "deep json": (with_header(b"[" * 100_000), NO_TENSORS),
    "a list": (with_header([]), NO_TENSORS),
    "unknown format": (one(dtype="F33"), NO_TENSORS),
    "another shape": (one(shape=[3]), NO_TENSORS),
    "negative": (one(shape=[-2]), NO_TENSORS),
    "a gap": (one(16, data_offsets=[8, 16]), "is damaged (a does not lie where it should)"),
    "on top": (with_header({"a": F32, "b": F32}, bytes(8)), "is damaged (b does not lie where it should)"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_has_its_sentence(header, name):
    data, text = DAMAGE[name]
    with pytest.raises(ModelError) as caught:
        header(data)
    assert caught.value.exit_code == 4
    assert text in str(caught.value)
    assert "x.safetensors" in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_a_sentence_or_harmless(tmp_path_factory, place, bit):
    data = bytearray(WHOLE)
    data[place] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(data)
    try:
        read_header(open_files(str(path), base=path.parent, key="model.id"), path.name)
    except ModelError as error:
        assert "flipped.safetensors" in str(error)


@pytest.mark.parametrize(
    ("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinity"), (-float("inf"), "infinity")]
)
def test_numbers_that_are_none_are_named(value, word):
    bad = torch.zeros(4, dtype=torch.float16)
    bad[2] = value
    tensors = [("ids", torch.arange(3)), ("conv_in.weight", bad)]
    with pytest.raises(ModelError, match=f"^unet holds {word} in conv_in.weight: "):
        check_finite(tensors, "unet")
    check_finite(tensors[:1], "unet")


def test_an_old_torch_reads_no_pickle(monkeypatch):
    check_pickle("x.ckpt is a pickle", True)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1+cpu"))
    with pytest.raises(
        Refused, match=r"^x\.ckpt is a pickle: torch 2\.9\.1\+cpu cannot read it safely, update torch to 2\.10"
    ):
        check_pickle("x.ckpt is a pickle", True)
