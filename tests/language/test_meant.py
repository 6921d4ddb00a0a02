"""Samplers by the names that web UIs, ComfyUI, InvokeAI and k-diffusion have for them."""

from typing import Any

import pytest

from runner.language import schemas
from runner.language.load import parse
from runner.language.meant import meant, sampler_meant
from runner.language.problems import RecipeProblems
from runner.language.recipe import read

MULTI, SINGLE = "DPMSolverMultistep", "DPMSolverSinglestep"
# The table of diffusers' documentation (api/schedulers/overview). 'DPM++ SDE' is its DPMSolverSinglestep with the
# noise that gives the sampler its name: without algorithm_type the class adds none.
DOCUMENTED: dict[str, dict[str, Any]] = {
    "DPM++ 2M": {"type": MULTI},
    "DPM++ 2M Karras": {"type": MULTI, "use_karras_sigmas": True},
    "DPM++ 2M SDE": {"type": MULTI, "algorithm_type": "sde-dpmsolver++"},
    "DPM++ 2M SDE Karras": {"type": MULTI, "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    "DPM++ SDE": {"type": SINGLE, "algorithm_type": "sde-dpmsolver++"},
    "DPM++ SDE Karras": {"type": SINGLE, "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True},
    "DPM2": {"type": "KDPM2Discrete"},
    "DPM2 Karras": {"type": "KDPM2Discrete", "use_karras_sigmas": True},
    "DPM2 a": {"type": "KDPM2AncestralDiscrete"},
    "DPM2 a Karras": {"type": "KDPM2AncestralDiscrete", "use_karras_sigmas": True},
    "Euler": {"type": "EulerDiscrete"},
    "Euler a": {"type": "EulerAncestralDiscrete"},
    "Heun": {"type": "HeunDiscrete"},
    "LMS": {"type": "LMSDiscrete"},
    "LMS Karras": {"type": "LMSDiscrete", "use_karras_sigmas": True},
    # its second table, of spacings
    "Euler SGM Uniform": {"type": "EulerDiscrete", "timestep_spacing": "trailing"},
    "Euler simple": {"type": "EulerDiscrete", "timestep_spacing": "trailing"},
    "DPM++ 2M exponential": {"type": MULTI, "timestep_spacing": "linspace", "use_exponential_sigmas": True},
    "DPM++ 2M beta": {"type": MULTI, "timestep_spacing": "linspace", "use_beta_sigmas": True},
}
# The same samplers as others spell them: ComfyUI, InvokeAI, k-diffusion, the web UI's API, kohya's scripts.
SPELLINGS = {
    "dpmpp_2m": "DPM++ 2M",
    "DPM++  2m": "DPM++ 2M",
    "k_dpmpp_2m_ka": "DPM++ 2M Karras",
    "dpmpp_2m_k": "DPM++ 2M Karras",
    "dpm++2m karras": "DPM++ 2M Karras",
    "sample_dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "DPM++ 2M-SDE KARRAS": "DPM++ 2M SDE Karras",
    "dpmpp_2m_sde_k": "DPM++ 2M SDE Karras",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE",
    "dpm_2": "DPM2",
    "k_dpm_2": "DPM2",
    "kdpm_2_k": "DPM2 Karras",
    "k_dpm_2_a": "DPM2 a",
    "dpm_2_ancestral": "DPM2 a",
    "k_dpm_2_a_ka": "DPM2 a Karras",
    "EULER": "Euler",
    "k_euler": "Euler",
    "euler_a": "Euler a",
    "euler_ancestral": "Euler a",
    "Euler A": "Euler a",
    "sample_euler_ancestral": "Euler a",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "k_heun": "Heun",
    "k_lms_ka": "LMS Karras",
}


def keys(name: str) -> dict[str, Any]:
    found = sampler_meant(name)
    assert found is not None, name
    return {"type": found.value} if isinstance(found.value, str) else found.value


@pytest.mark.parametrize("name", DOCUMENTED)
def test_names_of_the_documentation(name: str) -> None:
    assert keys(name) == DOCUMENTED[name]
    assert sampler_meant(name).equal  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "same"), SPELLINGS.items())
def test_other_spellings(name: str, same: str) -> None:
    assert keys(name) == DOCUMENTED[same]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("DDIM", "DDIM"),
        ("ddim", "DDIM"),
        ("PLMS", "PNDM"),
        ("UniPC", "UniPCMultistep"),
        ("uni_pc", "UniPCMultistep"),
        ("LCM", "LCM"),
        ("deis", "DEISMultistep"),
        ("dpmsingle", SINGLE),
        ("dpmpp_2s", SINGLE),
    ],
)
def test_names_that_are_not_in_it(name: str, kind: str) -> None:
    assert keys(name) == {"type": kind}


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("DPM++ 2S a", SINGLE),
        ("dpmpp_2s_ancestral", SINGLE),
        ("DPM++ 2S a Karras", "{type: DPMSolverSinglestep, use_karras_sigmas: true}"),
        ("DPM fast", SINGLE),
        ("DPM adaptive", SINGLE),
        ("Restart", "{type: HeunDiscrete, use_karras_sigmas: true}"),
        ("Euler a Karras", "EulerAncestralDiscrete"),  # the class has no such option
        ("DDIM Karras", "DDIM"),
    ],
)
def test_names_without_an_equal_say_so(name: str, nearest: str) -> None:
    text = f"version: 1\nname: n\nmodel: {{type: pretrained, id: x}}\nsampling: {{scheduler: {{type: {name}}}}}\n"
    assert messages(text) == [
        f"sampling.scheduler.type cannot be '{name}': it has no equal here; the nearest is '{nearest}'"
    ]


def messages(text: str) -> list[str]:
    try:
        return [p.message for p in read(parse(text, "r.yaml"))[1]]
    except RecipeProblems as error:
        return [p.message for p in error.problems]


KARRAS = "{type: DPMSolverMultistep, use_karras_sigmas: true}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "scheduler: {type: DPM++ 2M Karras}\nsampling: {}",
            f"scheduler.type cannot be 'DPM++ 2M Karras': did you mean '{KARRAS}'?",
        ),
        (
            "scheduler: DPM++ 2M Karras\nsampling: {}",
            f"scheduler must be a section of 'key: value' lines (got 'DPM++ 2M Karras'): write 'scheduler: {KARRAS}'",
        ),
        (
            "sampling: {scheduler: dpmpp_2m_k}",
            "sampling.scheduler must be a section of 'key: value' lines (got 'dpmpp_2m_k'): "
            f"write 'scheduler: {KARRAS}'",
        ),
        (
            "sampling: {sampler: DPM++ 2M Karras}",
            f"unknown key 'sampler' in sampling: did you mean 'scheduler: {KARRAS}'?",
        ),
        (
            "sampling: {matrix: {scheduler: [{type: DDIM}, DPM++ 2M Karras]}}",
            "sampling.matrix.scheduler[1] must be a section of 'key: value' lines (got 'DPM++ 2M Karras'): "
            f"write '{KARRAS}'",
        ),
        (
            "sampling: {matrix: {scheduler: [{type: DDIM}, {type: DPM++ 2M Karras}]}}",
            f"sampling.matrix.scheduler[1].type cannot be 'DPM++ 2M Karras': did you mean '{KARRAS}'?",
        ),
        (
            "sampling: {matrix: {scheduler: [DPM fast]}}",
            "sampling.matrix.scheduler[0] must be a section of 'key: value' lines (got 'DPM fast'): "
            "it has no equal here; the nearest: write '{type: DPMSolverSinglestep}'",
        ),
    ],
)
def test_the_mend_is_what_to_write(lines: str, message: str) -> None:
    assert messages(f"version: 1\nname: n\nmodel: {{type: pretrained, id: x}}\n{lines}\n") == [message]


def test_a_word_that_is_no_sampler_is_none() -> None:
    assert sampler_meant("xyzzy") is None
    assert sampler_meant("k") is None
    assert sampler_meant("") is None
    assert meant("xyzzy", {"enum": ["DDIM"]}) is None


def every_name() -> list[str]:
    """Each name of the table with each spacing."""
    kind = schemas.read("scheduler/sampler.json")["properties"]["type"]
    names = [*kind["enum"], *kind["x-values"], *kind["x-nearest"]]
    return [f"{name} {suffix}".strip() for name in names for suffix in ("", *kind["x-suffixes"])]


def test_the_installed_classes_take_every_mend() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    seen = set()
    for name in every_name():
        options = dict(keys(name))
        cls = getattr(diffusers, f"{options.pop('type')}Scheduler")
        if (cls, *options.items()) in seen:
            continue
        seen.add((cls, *options.items()))
        scheduler = cls(**options)
        assert {key: scheduler.config[key] for key in options} == options
        scheduler.set_timesteps(6)
        x = torch.ones(1, 4, 8, 8)
        for t in scheduler.timesteps:
            scale = getattr(scheduler, "scale_model_input", lambda x, _: x)  # flow matching has none
            x = scheduler.step(scale(x, t) * 0.1, t, x).prev_sample
        assert torch.isfinite(x).all(), name
    assert len(seen) > 40


@pytest.mark.parametrize("name", ["DPM++ 2M SDE", "DPM++ SDE", "DPM++ 3M SDE", "Euler a"])
def test_what_is_called_stochastic_draws_with_noise(name: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    torch = pytest.importorskip("torch")
    options = dict(keys(name))
    cls = getattr(diffusers, f"{options.pop('type')}Scheduler")

    def drawn(seed: int) -> Any:
        scheduler = cls(**options)
        scheduler.set_timesteps(6)
        x, generator = torch.ones(1, 4, 8, 8), torch.Generator().manual_seed(seed)
        for t in scheduler.timesteps:
            x = scheduler.step(scheduler.scale_model_input(x, t) * 0.1, t, x, generator=generator).prev_sample
        return x

    assert not torch.equal(drawn(0), drawn(1))
