"""A run that was cut off goes on with the commits that it began with."""

import json

import pytest

from runner.models import toys
from tests.fake_hub import COMMIT, NEXT, serve
from tests.hub.test_commands import commands, files

RECIPE = """\
version: 1
name: drawn
model: {type: pretrained, id: me/sd}
sampling: {prompts: [a red flower], num_images: 2, batch_size: 1, num_inference_steps: 2, height: 32, width: 32}
"""


@pytest.mark.slow
def test_a_branch_that_moved_does_not_mix_two_models(tmp_path):
    toys.stable_diffusion(tmp_path / "a", seed=1)
    toys.stable_diffusion(tmp_path / "b", seed=2)
    before, after = {"me/sd": files(tmp_path / "a")}, {"me/sd": files(tmp_path / "b")}
    place = tmp_path / "place"
    place.mkdir()
    (place / "drawn.yaml").write_text(RECIPE)
    with serve(before) as url:
        assert commands(place, url, ["run", "drawn.yaml"])[0]["code"] == 0
    run = place / "outputs" / "drawn" / "001"
    whole = files(run / "samples")
    (run / "samples" / "00001.png").unlink()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "state": "running"}))  # as a kill leaves it
    with serve(after, before=before) as url:
        goes_on, anew = commands(place, url, ["run", "drawn.yaml"], ["run", "drawn.yaml"])
    assert goes_on["code"] == anew["code"] == 0
    assert files(run / "samples") == whole
    assert COMMIT in (run / "settled.yaml").read_text()
    assert NEXT in (place / "outputs" / "drawn" / "002" / "settled.yaml").read_text()
