"""What the doctor finds on machines that are not well."""

import errno
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from runner.doctor import Check, machine, packages, render
from runner.doctor.probe import probe

TOKEN = "hf_planted" + "x" * 20


def _package(folder: Path, name: str, code: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code)


def test_a_probe_tells_how_imports_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, "well", "print('chatter'); Name = 1")
    _package(
        tmp_path, "ill", "try:\n    import nowhere\nexcept ImportError as e:\n    raise RuntimeError('ill') from e"
    )
    _package(tmp_path, "crashes", "import os; os._exit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = probe(["well", "well:Name", "well:Other", "ill", "crashes", "never"])
    assert (found["well"], found["well:Name"]) == ("", "")
    assert "Other" in found["well:Other"]
    assert found["ill"] == "ModuleNotFoundError: No module named 'nowhere'"  # the first cause
    assert found["crashes"] == found["never"] == "the import ends the process (status 9)"
    assert found["device"] is None


def _found(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], errors: dict[str, str]) -> dict[str, Check]:
    """The packages' checks where `versions` are installed besides the real ones and `errors` meet their imports."""
    real = packages.installed
    monkeypatch.setattr(packages, "installed", lambda name: versions.get(name, real(name)) or None)
    monkeypatch.setattr(
        packages,
        "probe",
        lambda targets: {**{t: errors.get(t.split(":")[0], "") for t in targets}, "device": None},
    )
    return {check.name: check for check in packages.checks()[0]}


def test_versions_old_missing_and_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(monkeypatch, {"diffusers": "0.37.0", "datasets": "", "torch": "2.15.0", "bitsandbytes": "0.40"}, {})
    assert (found["diffusers"].status, found["diffusers"].found) == ("fail", "0.37.0 is too old")
    assert 'pip install --upgrade "diffusers>=0.38"' in found["diffusers"].mend
    assert (found["datasets"].status, found["datasets"].found) == ("fail", "not installed")
    assert (found["torch"].status, found["torch"].found) == ("warn", "2.15.0 is newer than what was tested")
    assert (found["bitsandbytes"].status, found["transformers"].status) == ("warn", "ok")
    assert "xformers" in found["extras"].found


def test_a_broken_torchvision_is_blamed_for_the_imports_it_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "RuntimeError: operator torchvision::nms does not exist"
    errors = {"torchvision": error, "diffusers": error, "transformers": error}
    found = _found(monkeypatch, {"torchvision": "0.20.0"}, errors)
    for name in ("torchvision", "diffusers", "transformers"):
        assert found[name].status == "fail" and error in found[name].found
        assert "pip uninstall torchvision" in found[name].mend


def test_jax_is_blamed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "AttributeError: module 'jax.random' has no attribute 'KeyArray'"
    found = _found(monkeypatch, {"jax": "0.4.30"}, {"diffusers": error})
    assert found["diffusers"].status == "fail" and "pip uninstall jax" in found["diffusers"].mend
    assert found["jax"].status == "ok"


def test_packages_are_tried_by_the_names_that_they_are_imported_by(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(packages, "probe", lambda targets: tried.extend(targets) or {})
    packages.checks()
    missing = [name for target in tried if find_spec(name := target.partition(":")[0]) is None]
    assert {"yaml", "PIL.Image", "torch"} <= set(tried) and not missing


def test_a_package_broken_alone_is_installed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(
        monkeypatch, {"xformers": "0.0.1"}, {"scipy": "ImportError: libgfortran.so.5", "xformers": "OSError: x"}
    )
    assert "pip uninstall xformers" in found["xformers"].mend and found["xformers"].status == "warn"
    found = _found(monkeypatch, {}, {"scipy": "ImportError: libgfortran.so.5"})
    assert found["scipy"].mend == 'run  pip install --force-reinstall "scipy>=1.13"'


@pytest.mark.slow
def test_a_real_torchvision_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that does what the real one does where its compiled part does not load."""
    code = (
        'import torch\n@torch.library.register_fake("torchvision::nms")\ndef nms(dets, scores, iou_threshold): pass\n'
    )
    _package(tmp_path, "torchvision", code)
    folder = tmp_path / "torchvision-0.20.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.20.0\nRequires-Dist: torch==2.5.0\n"
    )
    program = (
        "from pathlib import Path; from runner.doctor import checks, render\n"
        "print(render(checks(output_dir=Path('o'), cache_dir=Path('c'))))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path).stdout
    assert "fail  torchvision" in answer and "was built for torch 2.5.0" in answer
    assert "operator torchvision::nms does not exist" in answer and "mend: run  pip uninstall torchvision" in answer
    assert "fail  diffusers" in answer and "ok    torch " in answer and "torch threads" in answer


TOO_OLD = "The NVIDIA driver on your system is too old (found version 11040)."
H100 = {"name": "NVIDIA H100", "total": 80 * 2**30, "free": 79 * 2**30}
TORCH = {"bf16": True, "built_for": "12.8", "gpus": [], "mps": False, "threads": 2, "warnings": []}


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        (TORCH, "ok", "none: runs compute on the CPU"),
        ({**TORCH, "gpus": [H100]}, "ok", "NVIDIA H100, 80.0 GiB, 79.0 GiB free"),
        ({**TORCH, "mps": True}, "ok", "Apple (mps)"),
        ({**TORCH, "warnings": [TOO_OLD]}, "warn", "driver on your system is too old"),
        (None, "warn", "torch cannot be asked"),
    ],
)
def test_devices(found: dict | None, status: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    check = machine.devices(found)[-1]
    assert (check.name, check.status) == ("GPU", status) and words in check.found
    assert bool(check.mend) == (status != "ok")


def test_a_torch_without_cuda_beside_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    check = machine.devices({**TORCH, "built_for": None})[-1]
    assert check.status == "warn" and "built for the CPU only" in check.found and "pytorch.org" in check.mend


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = machine.disk("disk for outputs", tmp_path / "not" / "yet", "--output-dir")
    assert check.status in ("ok", "warn") and "free at" in check.found
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    check = machine.disk("disk for outputs", tmp_path / "file", "--output-dir")
    assert check.status == "fail" and "cannot be written" in check.found and "--output-dir" in check.mend
    usage = shutil.disk_usage(tmp_path)
    for free, status in ((3 * 2**30, "warn"), (2**20, "fail"), (50 * 2**30, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda place, free=free: usage._replace(free=free))
        assert machine.disk("x", tmp_path, "--output-dir").status == status

    def read_only(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    assert "Read-only file system" in machine.disk("x", tmp_path, "--cache-dir").found


def test_rendering_escapes_and_sums_up() -> None:
    text = render(
        [Check("a", "ok", "1.0"), Check("long", "fail", "\x1b[2J [red]", "mend it"), Check("b", "warn", "x", "y")]
    )
    assert text.splitlines() == [
        "ok    a     1.0",
        "fail  long  \\x1b[2J [red]",
        "            mend: mend it",
        "warn  b     x",
        "            mend: y",
        "",
        "1 fault, 1 warning.",
    ]
    assert render([Check("a", "ok", "1.0")]).endswith("\nAll is well.")
    assert render([Check("a", "warn", "x", "y")]).endswith("0 faults, 1 warning. Recipes will run.")


@pytest.fixture
def hub() -> Iterator[tuple[str, dict]]:
    """A hub on this machine: its address, and what it answers."""
    answer = {"status": 200, "body": b'{"name": "ann\\u001b[2J"}', "asked": []}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer["asked"].append((self.path, self.headers.get("Authorization")))
            self.send_response(answer["status"])
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *words: object) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", answer
    server.shutdown()
    server.server_close()


def _hub_checks(home: Path, **environment: str) -> dict[str, dict]:
    program = (
        "import json; from dataclasses import asdict; from runner.doctor import hub, render\n"
        "checks = hub.checks(); print(json.dumps([[asdict(c) for c in checks], render(checks)]))"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert TOKEN not in answer.stdout + answer.stderr
    checks, rendered = json.loads(answer.stdout)
    assert "\x1b" not in rendered
    return {check["name"]: check for check in checks}


def test_the_hub_with_a_login(tmp_path: Path, hub: tuple[str, dict]) -> None:
    address, answer = hub
    found = _hub_checks(tmp_path, HF_ENDPOINT=address, HF_TOKEN=TOKEN)
    assert answer["asked"][-1] == ("/api/whoami-v2", f"Bearer {TOKEN}")
    assert (found["hub"]["status"], found["hub"]["found"]) == ("ok", "reachable, logged in as ann\\x1b[2J")
    assert found["HF_ENDPOINT"]["status"] == "warn"  # http: a token travels unprotected
    answer["status"] = 401
    found = _hub_checks(tmp_path, HF_ENDPOINT=address, HF_TOKEN=TOKEN)
    assert (found["hub"]["status"], found["hub"]["found"]) == ("warn", "the token is refused")


def test_the_hub_without_a_login_or_out_of_order(tmp_path: Path, hub: tuple[str, dict]) -> None:
    address, answer = hub
    found = _hub_checks(tmp_path, HF_ENDPOINT=address)
    assert found["hub"]["found"] == "reachable, no token: public models and data only"
    assert answer["asked"][-1] == ("/api/models?limit=1", None)
    answer["status"] = 503
    assert "answers 503" in _hub_checks(tmp_path, HF_ENDPOINT=address)["hub"]["found"]


def test_no_network_and_no_asking(tmp_path: Path, hub: tuple[str, dict]) -> None:
    address, answer = hub
    found = _hub_checks(tmp_path, HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN=TOKEN, HF_HUB_ENABLE_HF_TRANSFER="1")
    assert found["hub"]["status"] == "warn" and "cannot be reached" in found["hub"]["found"]
    assert "a token is present" in found["hub"]["found"] and "--offline" in found["hub"]["mend"]
    assert found["HF_HUB_ENABLE_HF_TRANSFER"]["status"] == "warn"
    found = _hub_checks(tmp_path, HF_ENDPOINT=address, HF_HUB_OFFLINE="1", HF_TOKEN=f"{TOKEN} x")
    assert found["hub"]["status"] == "ok" and "not asked, since HF_HUB_OFFLINE is set" in found["hub"]["found"]
    assert found["HF_TOKEN"]["status"] == "warn" and answer["asked"] == []


def test_a_processor_without_bf16_is_told_of() -> None:
    with_, without = (machine.devices({**TORCH, "bf16": found})[0].found for found in (True, False))
    assert "2 torch threads, bf16 instructions" in with_
    assert "no bf16 instructions: training computes in fp32" in without
