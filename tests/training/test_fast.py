"""Fast settings: the same work, taken up again to the last bit."""

import os
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed
from torch.utils._python_dispatch import TorchDispatchMode

from runner.errors import EnvironmentFault
from runner.models.attention import EagerWhereFew
from runner.models.fast import Compiled, lay_out
from runner.models.group_norm import ByChannel
from runner.training import checkpoints
from runner.training.together import Together
from tests.conftest import defaults
from tests.data.toy_batches import batches, work
from tests.training.toy_loop import Hooks, family, run, settings

PLAIN = {"channels_last": False, "eager_attention": False, "upcast_attention": False}


def laid_out(dropout=0.1):
    model = family(dropout)
    lay_out(model, {**PLAIN, "channels_last": True, "eager_attention": True})
    return model


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("key", ["channels_last", "eager_attention"])
def test_a_model_is_laid_out_as_asked(key, on):
    model = family()
    lay_out(model, {**PLAIN, key: on})
    weight = model.unet.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == (on and key == "channels_last")
    kinds = {type(module.processor) for module in model.unet.modules() if isinstance(module, Attention)}
    assert kinds == {EagerWhereFew if on and key == "eager_attention" else AttnProcessor2_0}


def held(trainer):
    """The weights and their average, as bytes by name."""
    tensors = {**trainer.parameters, **{f"ema.{name}": tensor for name, tensor in trainer.ema.average.items()}}
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in tensors.items()}


class Kept(Hooks):
    """Keeps a checkpoint in a folder every so many steps."""

    def __init__(self, folder, every):
        super().__init__(every)
        self.folder = folder

    def reached(self, step, trainer):
        checkpoints.save(self.folder, trainer.checkpoint(), None)


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("kind", ["adamw", "sgd", "adafactor"])
def test_channels_side_by_side_go_on_bitwise(tmp_path, precision, kind):
    """Fused AdamW walks through a weight and its state side by side, in whatever order they lie in memory."""
    training = settings(optimizer=defaults("training/optimizer.json", type=kind))
    training["ema"] = defaults("training/ema.json", decay=0.9)
    whole, _ = run(training, model=laid_out(), precision=precision)
    run(training, model=laid_out(), precision=precision, steps=3, hooks=Kept(tmp_path, 3))
    checkpoint, _ = checkpoints.newest(tmp_path)
    again, _ = run(training, model=laid_out(), precision=precision, resume=checkpoint)
    assert not any(p.is_contiguous() for name, p in again.parameters.items() if name.endswith("conv1.weight"))
    assert held(again) == held(whole)


def test_a_checkpoint_does_not_tell_how_weights_lay_in_memory(tmp_path):
    """So a run goes on with another memory format, and learns the same but for the last bits."""
    training = settings(ema=defaults("training/ema.json", decay=0.9))
    whole, _ = run(training, model=family())
    run(training, model=family(), steps=3, hooks=Kept(tmp_path, 3))
    checkpoint, _ = checkpoints.newest(tmp_path)
    again, _ = run(training, model=laid_out(dropout=0.0), resume=checkpoint)
    for name, parameter in whole.parameters.items():
        torch.testing.assert_close(again.parameters[name], parameter, rtol=1e-4, atol=1e-5)


class Waits(TorchDispatchMode):
    """Counts how often the processor waits for a number of the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return function(*args, **(kwargs or {}))


class Counted(Hooks):
    def __init__(self, waits):
        super().__init__()
        self.waits, self.counts = waits, []

    def stepped(self):
        self.counts.append(self.waits.count)


@pytest.mark.parametrize(("limit", "elsewhere", "waits_per_step"), [(None, False, 0), (1.0, True, 0), (1.0, False, 1)])
def test_nothing_waits_for_the_device_between_two_logged_steps(monkeypatch, limit, elsewhere, waits_per_step):
    """But for the norm of gradients on a CPU, where that costs nothing; elsewhere the engine clips."""
    training = settings(logging_steps=3, ema=defaults("training/ema.json"), max_grad_norm=limit)
    if elsewhere:
        monkeypatch.setattr(Together, "clip", lambda own, *given: own._accelerator.clip_grad_norm_(*given))
    with Waits() as waits:
        run(training, hooks=(hooks := Counted(waits)))
    assert [line.step for line in hooks.lines] == [1, 2, 3, 4, 5, 6]
    assert hooks.counts == [step * waits_per_step for step in range(1, 7)]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_for_a_gpu_are_prepared_in_pinned_memory(monkeypatch, workers):
    """Each thread works for the GPU that the batches go to: pinning for another would take room there."""
    chosen, pinned = [], []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    device = torch.device("cuda", 1)
    (step,) = batches(work(max_train_steps=1), workers=workers, pin_for=device).from_step(0)
    there = [value for batch in step for value in vars(batch).values() if isinstance(value, torch.Tensor)]
    assert there and {id(tensor) for tensor in there} == {id(tensor) for tensor in pinned}
    assert set(chosen) == ({device} if workers else set())
    pinned.clear()
    list(batches(work(max_train_steps=1), workers=workers).from_step(0))
    assert pinned == []


def test_one_gpu_without_a_number_is_the_one_that_threads_have(monkeypatch):
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: torch.cuda._utils._get_device_index(device))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    of = batches(work(max_train_steps=2), workers=1, pin_for=torch.device("cuda"))
    assert len(list(of.from_step(0))) == 2


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_only_pinned_batches_are_copied_without_waiting(monkeypatch, device):
    """A copy from other memory to mps may be read before it is made."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *a, **k: asked.append(k) or self)
    ((batch,),) = batches(work(max_train_steps=1)).from_step(0)
    asked.clear()
    batch.to(torch.device(device))
    assert asked and all(options == {"non_blocking": device == "cuda"} for options in asked)


@pytest.fixture
def calls(monkeypatch):
    """By what is compiled, how it is and how often it is called: a stand-in for a compiler that takes minutes."""
    made = defaultdict(list)

    def compile(module, **options):
        def called(*arguments, **named):
            made[module].append((dict(options), os.environ["TORCHINDUCTOR_CACHE_DIR"]))
            return module._call_impl(*arguments, **named)

        module._compiled_call_impl = called

    monkeypatch.setattr(nn.Module, "compile", compile)
    return made


def test_every_whole_step_runs_compiled_code(calls, tmp_path):
    """The last step of an epoch, which is smaller, would need code of its own for once."""
    model = family()
    training = settings(max_train_steps=None, num_train_epochs=1, batch_size=5)  # twelve pictures
    compiled = Compiled(model, True, tmp_path / "compiled")
    norms = [module for module in model.unet.modules() if isinstance(module, nn.GroupNorm)]
    with compiled.ready():
        assert {type(norm) for norm in norms} == {ByChannel}
        run(training, model=model, compiled=compiled)
    assert {type(norm) for norm in norms} == {nn.GroupNorm}
    once = ({"dynamic": False}, str(tmp_path / "compiled"))
    assert all(found == [once] * 3 for found in calls.values())  # one to see that it is right
    assert {"ResnetBlock2D", "Attention", "GroupNorm"} == {type(module).__name__ for module in calls}
    assert not any(module._compiled_call_impl for module in model.unet.modules())
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") != str(tmp_path / "compiled")


def test_code_that_computes_other_gradients_does_not_train(monkeypatch, tmp_path):
    model = family()
    before = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}

    def compile(module, **options):
        def called(sample, *arguments, **named):
            """Loses the gradient of what comes before."""
            return module._call_impl(sample.detach(), *arguments, **named)

        module._compiled_call_impl = called

    monkeypatch.setattr(nn.Module, "compile", compile)
    compiled, hooks = Compiled(model, True, tmp_path), Hooks()
    said = r"other gradients than the model itself.*write compute.compile: false"
    with pytest.raises(EnvironmentFault, match=said), compiled.ready():
        run(settings(max_train_steps=1), model=model, compiled=compiled, hooks=hooks)
    assert hooks.lines == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.unet.state_dict().items())


def test_drawing_on_the_way_is_not_compiled(calls, tmp_path):
    model = family()
    compiled = Compiled(model, True, tmp_path)
    x, t = torch.zeros(1, 3, 16, 16), torch.zeros(1, dtype=torch.long)
    with compiled.ready():
        with compiled.eagerly():
            model.predict(x, t, {})
        assert not calls
        model.predict(x, t, {})
        assert calls and all(len(found) == 1 for found in calls.values())


def test_nothing_is_compiled_where_that_is_off(calls):
    with Compiled(family(), False, Path("nowhere")).ready():
        run(settings(max_train_steps=1))
    assert not calls


def test_what_cannot_be_compiled_is_one_sentence(calls, tmp_path):
    model = family()
    said = r"cannot be compiled here \(no room\): write compute.compile: false"
    with pytest.raises(EnvironmentFault, match=said), Compiled(model, True, tmp_path).ready():
        raise BackendCompilerFailed(lambda: None, RuntimeError("no room\nat all"), None)
    assert not any(module._compiled_call_impl for module in model.unet.modules())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_compiled_code_has_the_gradients_of_the_model(tmp_path, precision):
    """Of every weight, in a UNet with two upsamplings."""
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}
    sizes = {"sample_size": 16, "block_out_channels": (8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    model = family()
    model.unet = model.parts["unet"] = UNet2DModel(**sizes, **blocks).train()
    compiled, x, t = Compiled(model, True, tmp_path), torch.randn(4, 3, 16, 16), torch.tensor([9, 99, 500, 999])

    def gradients():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            model.unet(x, t).sample.float().square().mean().backward()
        found = {name: p.grad for name, p in model.unet.named_parameters()}
        model.unet.zero_grad()
        return found

    with compiled.ready():
        code = gradients()
        with compiled.eagerly():
            expected = gradients()
    for name, gradient in expected.items():
        if name.endswith("to_k.bias"):  # a softmax does not see it: only rounding is left of its gradient
            continue
        assert (code[name] - gradient).norm() <= (0.5 if precision == "bf16" else 1e-4) * gradient.norm(), name


@pytest.mark.slow
def test_a_compiled_training_goes_on_bitwise(tmp_path):
    """Two processes would find the same code in the cache; here the compiler begins anew each time."""
    training = settings(ema=defaults("training/ema.json", decay=0.9))

    def ran(**options):
        model = laid_out()
        compiled = Compiled(model, True, tmp_path / "compiled")
        with compiled.ready():
            trainer, _ = run(training, model=model, compiled=compiled, precision="bf16", **options)
        return trainer

    whole = held(ran())
    ran(steps=3, hooks=Kept(tmp_path / "kept", 3))
    checkpoint, _ = checkpoints.newest(tmp_path / "kept")
    made = sorted((tmp_path / "compiled").rglob("*.so"))
    assert made
    assert held(ran(resume=checkpoint)) == whole
    assert sorted((tmp_path / "compiled").rglob("*.so")) == made
