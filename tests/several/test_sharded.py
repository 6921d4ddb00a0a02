"""Weights that are shared out learn as whole ones do: on a CPU here, where accelerate would not share them out."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from PIL import Image
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from runner import engine
from runner.settle import processes
from runner.training import checkpoints, sharded
from tests.conftest import defaults
from tests.corpus.table import toy
from tests.faults.runs import log, newest
from tests.several.crew import ends
from tests.training import toy_loop
from tests.training.toy_loop import Hooks, family, run, settings

OPTIONS = {"max_train_steps": 6, "batch_size": 4, "gradient_accumulation_steps": 2, "logging_steps": 1}


def fsdp(mixed_precision="no", cpu=True, fsdp_plugin=None):
    """An engine that believes that this CPU's processes can share out weights."""
    accelerator = Accelerator(mixed_precision=mixed_precision, cpu=cpu)
    sharded._UNIT = 2000  # the toy's blocks are small
    AcceleratorState().__dict__.update(distributed_type=DistributedType.FSDP, fsdp_plugin=sharded.plugin())
    return accelerator


class Saving(Hooks):
    """Keeps a checkpoint every third step, and the weights that a drawing would have then."""

    def __init__(self, folder):
        super().__init__(every=3)
        self.folder = folder

    def reached(self, step, trainer):
        checkpoint = trainer.checkpoint()
        with trainer.together.shown(trainer.ema):
            drawn = {name: p.detach().clone() for name, p in trainer.family.unet.named_parameters()}
        if trainer.accelerator.process_index == 0:
            checkpoints.save(self.folder, checkpoint, None)
            self.kept[step] = drawn


def learn(name, shared, resume):
    if shared:
        toy_loop.Accelerator = fsdp
    hooks, training = Saving(name), settings(**OPTIONS)
    training["ema"] = defaults("training/ema.json", decay=0.9)
    trainer, _ = run(training, model=family(), hooks=hooks, resume=checkpoints.load(resume) if resume else None)
    trainer.together.take(trainer.ema)
    if trainer.accelerator.process_index == 0:
        last = {key: p.detach() for key, p in trainer.family.unet.named_parameters()}
        torch.save((hooks.kept, last, [(line.loss, line.grad_norm) for line in hooks.lines]), name / "learned.pt")
    return 0


def learned(folder, processes, shared=False, resume=None):
    codes, said = ends(folder.parent, processes, folder, shared, resume, work=learn)
    assert codes == [0] * processes, said
    return torch.load(folder / "learned.pt")


def flat(weights):
    return torch.cat([weights[key].flatten() for key in sorted(weights)])


def close(a, b):
    return (flat(a) - flat(b)).norm() < 1e-4 * flat(b).norm()


def test_parts_learn_what_the_whole_does_and_go_on_as_either(here):
    for name in ("whole", "parts", "rest", "on"):
        (here / name).mkdir()
    drawn, last, lines = learned(here / "whole", 1)
    ours, end, same = learned(here / "parts", 2, shared=True)
    for line, other in zip(lines, same):
        assert line == pytest.approx(other, rel=1e-4)
    assert close(ours[3], drawn[3]) and close(ours[6], drawn[6]) and close(end, last)
    assert torch.equal(flat(end), flat(ours[6]))
    a, b = (checkpoints.load(here / name / "step-000003") for name in ("whole", "parts"))
    for kind in ("parameters", "ema", "optimizer"):
        assert a.tensors[kind].keys() == b.tensors[kind].keys()
        assert close(a.tensors[kind], b.tensors[kind]), kind
    _, alone, _ = learned(here / "rest", 1, resume=here / "parts" / "step-000003")
    _, shared, _ = learned(here / "on", 2, shared=True, resume=here / "whole" / "step-000003")
    assert close(alone, last) and close(shared, last)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_batches_and_gradients_are_as_wide_as_without_it(precision):
    """accelerate has a policy for numbers of 16 bits, which would round timesteps too."""
    plugin = sharded.plugin()
    plugin.set_mixed_precision(precision)
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (None, None, None)
    assert not policy.cast_forward_inputs


def allowed(_rank):
    """Lets a run on a CPU share out weights."""
    processes.problems = lambda *_: ()
    engine.Accelerator = fsdp
    prepare = sharded.Sharded.prepare

    def told(*arguments):
        prepared, parameters = prepare(*arguments)
        assert all(isinstance(p, DTensor) for p in parameters.values())
        Path("shared").touch()
        return prepared, parameters

    sharded.Sharded.prepare = told


@pytest.mark.slow
def test_a_run_draws_judges_and_keeps_the_whole_model(here):
    training = {"max_train_steps": 4, "batch_size": 4, "sample_steps": 2, "validation_split": 0.25}
    training |= {"validation_loss_steps": 2, "ema": {"decay": 0.9}, "checkpointing_steps": 2}
    recipe = toy(training=training, compute={"mixed_precision": "fp32", "processes": 2})
    found = []
    for strategy, before in (("ddp", None), ("fsdp", allowed)):
        recipe["compute"]["strategy"] = strategy
        (here / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        codes, said = ends(here, 2, "run", "recipe.yaml", "--fresh", before=before)
        assert codes == [0, 0], said
        found.append(newest(here))
    ddp, parts = found
    assert (here / "shared").exists()
    assert ddp != parts
    assert {path.relative_to(parts) for path in parts.rglob("*")} == {path.relative_to(ddp) for path in ddp.rglob("*")}
    file = "model/unet/diffusion_pytorch_model.safetensors"
    assert close(load_file(parts / file), load_file(ddp / file))
    assert (parts / "model/unet/config.json").read_text() == (ddp / "model/unet/config.json").read_text()
    for a, b in zip(log(parts), log(ddp), strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    for picture in sorted(ddp.rglob("*.png")):
        with Image.open(picture) as one, Image.open(parts / picture.relative_to(ddp)) as other:
            assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 2, picture
