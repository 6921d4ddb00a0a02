"""A model of noise is not drawn as a flow, and a solver of noise draws it as before."""

import pytest

from runner.language.rules_flow import FLOW_SOLVERS
from runner.models import toys
from runner.models.stable_diffusion import StableDiffusion
from tests.models.drawing import facts_of, settled


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    path = tmp_path_factory.mktemp("sd")
    toys.stable_diffusion(path)
    return facts_of(path)


@pytest.mark.parametrize("name", sorted(FLOW_SOLVERS))
@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, "use_flow_sigmas"),
        ({"prediction_type": "flow_prediction"}, "prediction_type"),
    ],
)
def test_stable_diffusion_is_no_flow(facts, name, options, key):
    section = {"type": name, **options}
    (found,) = StableDiffusion.problems(facts, settled(StableDiffusion, facts, scheduler=section))
    assert found.key == f"scheduler.{key}"
    assert found.message.endswith("is of flow matching models; a stable_diffusion is none: take it out")


@pytest.mark.parametrize("name", sorted(FLOW_SOLVERS))
def test_a_flow_that_is_not_asked_for_is_none(facts, name):
    section = {"type": name, "use_flow_sigmas": False, "prediction_type": "epsilon"}
    assert list(StableDiffusion.problems(facts, settled(StableDiffusion, facts, scheduler=section))) == []
