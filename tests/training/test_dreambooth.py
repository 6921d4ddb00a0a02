"""DreamBooth, whose pictures of the class the model draws itself, against a plain loop."""

from tests.training.finetune import CACHES, Samples, assert_equal_work, recipe, run, weights
from tests.training.plain import Plain


def test_the_prior_is_learned_as_in_a_plain_loop(here, toy):
    folder = toy("stable_diffusion")
    prior = {"prompt": "a flower", "num_images": 5, "weight": 0.7, "num_inference_steps": 2}
    data = {"num_images": 3, "instance_prompt": "a sks flower", "prior": prior}
    done = [run(recipe(folder, data=data, training=caches), "--fresh") for caches in CACHES]
    assert len(list((here / "cache" / "recipe" / "prior").glob("*/*.png"))) == 5
    plain = Plain(folder, Samples(done[0]))
    unet = plain.pipeline.unet.requires_grad_(True).train()
    plain.train((unet.parameters(), 1e-3))
    for made in done:
        assert_equal_work(made, plain, weights(made / "model"), weights(plain.pipeline), weights(folder))
