"""The loop against plain torch, and what it keeps."""

import pytest
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel

from runner.diffusion.objectives import denoise
from runner.errors import Diverged
from runner.training import checkpoints
from runner.training.ema import EMA
from runner.training.loop import Trainer, train
from tests.conftest import defaults
from tests.training.toy_loop import Hooks, batches, eager, family, learning, run, settings, unet


def by_hand(training, prediction_type="epsilon"):
    """A plain torch loop from diffusers' public parts, on the same samples: (losses, gradient norms, weights)."""
    model, scheduler = unet(), DDPMScheduler(prediction_type=prediction_type)
    options = training["optimizer"]
    adamw = torch.optim.AdamW(
        model.parameters(),
        lr=training["learning_rate"],
        betas=tuple(options["betas"]),
        weight_decay=options["weight_decay"],
        eps=options["eps"],
    )
    source = batches(training)
    losses, norms = [], []
    for prepared in source.from_step(0):
        update = [batch.to(torch.device("cpu")) for batch in prepared]
        x0 = torch.cat([batch.pixels for batch in update]).float() / 127.5 - 1
        eps = torch.cat([batch.eps for batch in update])
        t = (torch.cat([batch.u for batch in update]) * 1000).long()
        output = model(scheduler.add_noise(x0, eps, t), t).sample
        target = eps if prediction_type == "epsilon" else scheduler.get_velocity(x0, eps, t)
        loss = torch.nn.functional.mse_loss(output, target)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), training["max_grad_norm"]).item())
        adamw.step()
        adamw.zero_grad()
        losses.append(loss.item())
    return losses, norms, [p.detach() for p in model.parameters()]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_losses_gradients_and_weights_equal_a_plain_loop(prediction_type, accumulation):
    training = settings(batch_size=4, gradient_accumulation_steps=accumulation, logging_steps=1)
    trainer, hooks = run(training, model=family(prediction_type=prediction_type))
    losses, norms, weights = by_hand(training, prediction_type)
    assert [line.loss for line in hooks.lines] == pytest.approx(losses, rel=1e-4)
    assert [line.grad_norm for line in hooks.lines] == pytest.approx(norms, rel=1e-3)
    for ours, theirs in zip(trainer.parameters.values(), weights, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-3, atol=2e-5)


def test_a_last_partial_step_has_the_gradient_of_its_own_mean():
    training = settings(max_train_steps=None, num_train_epochs=1, batch_size=3, gradient_accumulation_steps=3)
    training["logging_steps"] = 1
    _, hooks = run(training)
    losses, norms, _ = by_hand(training)
    assert len(losses) == 2  # nine samples, then three
    assert [line.loss for line in hooks.lines] == pytest.approx(losses, rel=1e-4)
    assert [line.grad_norm for line in hooks.lines] == pytest.approx(norms, rel=1e-3)


def test_thirty_steps_lower_the_loss_by_a_third():
    _, hooks = run(settings(max_train_steps=30, batch_size=8, learning_rate=3e-3))
    losses = [line.loss for line in hooks.lines]
    assert len(losses) == 30
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 * 2 / 3


def test_min_snr_changes_the_loss_and_nothing_else_of_the_samples():
    plain, weighted = (run(settings(snr_gamma=gamma), steps=1)[1].lines[0].loss for gamma in (None, 1e-3))
    assert 0 < weighted < plain


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_going_on_from_a_checkpoint_is_bitwise_the_same(tmp_path, precision):
    training = settings(ema={}, lr_scheduler="cosine", lr_warmup_steps=2, logging_steps=1)
    training["ema"] = defaults("training/ema.json", decay=0.9)
    whole, hooks = run(training, model=family(dropout=0.2), precision=precision)
    for stop in (1, 2, 5):
        half, _ = run(training, steps=stop, model=family(dropout=0.2), precision=precision)
        checkpoints.save(tmp_path, half.checkpoint(), 1)
        saved, damaged = checkpoints.newest(tmp_path)
        assert (saved.step, damaged) == (stop, [])
        rest, later = run(training, model=family(dropout=0.2), resume=saved, precision=precision)
        assert later.lines == hooks.lines[stop:]
        for name, parameter in whole.parameters.items():
            assert torch.equal(parameter, rest.parameters[name]), name
            assert torch.equal(whole.ema.average[name], rest.ema.average[name]), name


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "adafactor"])
def test_every_optimizer_learns_and_goes_on(tmp_path, kind):
    optimizer = defaults("training/optimizer.json", type=kind)
    training = settings(max_train_steps=4, logging_steps=1, learning_rate=1e-3)
    training["optimizer"] = optimizer
    whole, hooks = run(training)
    half, _ = run(training, steps=2)
    checkpoints.save(tmp_path, half.checkpoint(), None)
    rest, later = run(training, resume=checkpoints.newest(tmp_path)[0])
    assert later.lines == hooks.lines[2:]
    before = family().parts["unet"].state_dict()
    assert any(not torch.equal(p, before[n.removeprefix("unet.")]) for n, p in whole.parameters.items())
    assert all(torch.equal(p, rest.parameters[n]) for n, p in whole.parameters.items())


def test_a_loss_that_is_not_finite_stops_the_run():
    def objective(model, batch, training):
        return denoise(model, batch, training) * (float("nan") if batch.first >= 8 else 1.0)

    training = settings(logging_steps=2)
    model, hooks = family(), Hooks()
    source = batches(training)
    trainer = Trainer(model, learning(model, training), training, Accelerator(cpu=True), source, eager(model))
    with pytest.raises(Diverged, match="nan at step 3"):
        train(trainer, objective, hooks, 1)
    assert [line.step for line in hooks.lines] == [1, 2]


@pytest.mark.parametrize("broken", ["parameters", "ema", "optimizer"])
def test_no_checkpoint_holds_a_number_that_is_not_finite(broken):
    training = settings()
    training["ema"] = defaults("training/ema.json")
    trainer, _ = run(training)
    state = {"parameters": trainer.parameters, "ema": trainer.ema.average}
    state["optimizer"] = next(iter(trainer.optimizer.optimizer.state.values()))
    tensor = list(state[broken].values())[-1]
    with torch.no_grad():
        tensor.view(-1)[-1] = float("inf")
    with pytest.raises(Diverged, match="not finite at step 6"):
        trainer.checkpoint()


def test_weights_that_a_finite_loss_broke_are_not_kept():
    """A gradient that overflows, without clipping: the loss of the same step tells nothing."""

    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, losses):
            return losses.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    class Saving(Hooks):
        def reached(self, step, trainer):
            self.kept[step] = trainer.checkpoint()

    def objective(model, batch, training):
        losses = denoise(model, batch, training)
        return Overflow.apply(losses) if batch.first >= 8 else losses

    hooks = Saving(every=1)
    with pytest.raises(Diverged, match="weights became not finite at step 3"):
        run(settings(max_grad_norm=None, logging_steps=100), hooks=hooks, objective=objective)
    assert list(hooks.kept) == [1, 2]


def test_frozen_parts_do_not_learn():
    model = family()
    assert learning(model, settings(), ["unet"]) == []
    assert not any(p.requires_grad for p in model.unet.parameters())
    assert not model.unet.training


@pytest.mark.parametrize(
    "options",
    [
        {"decay": 0.9},
        {"decay": 0.995, "use_ema_warmup": True, "power": 0.75},
        {"update_after_step": 3, "min_decay": 0.5},
    ],
)
def test_the_average_is_diffusers(options):
    ours_settings = defaults("training/ema.json", **options)
    model = torch.nn.Linear(3, 2)
    ours, theirs = EMA(dict(model.named_parameters()), ours_settings), EMAModel(model.parameters(), **ours_settings)
    for step in range(1, 12):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p))
        ours.update(step)
        theirs.step(model.parameters())
        for a, b in zip(ours.average.values(), theirs.shadow_params, strict=True):
            torch.testing.assert_close(a, b)
    before = [p.clone() for p in model.parameters()]
    with ours.applied():
        for p, b in zip(model.parameters(), theirs.shadow_params, strict=True):
            torch.testing.assert_close(p.data, b)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
