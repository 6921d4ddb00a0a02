"""Rules of drawing with a pretrained model: the warnings, and where the rules keep still."""
# ruff: noqa: E501 (exact texts)

import pytest

from runner.language.load import parse
from runner.language.recipe import read, to_yaml
from tests.language.saying import found

DRAW = """version: 1
name: trial
model: {type: pretrained, id: owner/name}
sampling: {prompts: [a rose], num_inference_steps: 20}
"""
TRAIN = """version: 1
name: trial
data: {type: builtin, resolution: 32}
model: {type: pixel_unet, block_out_channels: [32, 64]}
scheduler: {beta_schedule: squaredcos_cap_v2}
training: {max_train_steps: 1000}
"""
PICKLE = "is a pickle, which is read only with --allow-pickle on the command line; the same weights as .safetensors need no flag"


@pytest.mark.parametrize(
    ("overrides", "path", "message"),
    [
        (["sampling.prompts=['((masterpiece,best quality)),1girl']"], "sampling.prompts.0", "'((masterpiece,best quality))' is drawn as written: prompt_syntax: weighted reads weights"),
        (["sampling.prompts=[a, 'a (red:1.3) rose']"], "sampling.prompts.1", "'(red:1.3)' is drawn as written: prompt_syntax: weighted reads weights"),
        (["sampling.prompts=['((a))', '((b))', '((c))']", "sampling.negative_prompt=((d))"], "sampling.prompts.0", "'((a))' is drawn as written: prompt_syntax: weighted reads weights"),
        (["sampling.negative_prompt=ugly BREAK dark"], "sampling.negative_prompt", "'BREAK' is drawn as written: prompt_syntax: weighted reads weights"),
        (["sampling.matrix={negative_prompt: ['', '((dark))']}"], "sampling.matrix.negative_prompt.1", "'((dark))' is drawn as written: prompt_syntax: weighted reads weights"),
        (["sampling.prompts=['a rose <lora:style:0.8>']"], "sampling.prompts.0", "'<lora:style:0.8>' loads nothing: name the file under model.loras and take it out here"),
        (["sampling.guidance_scale=1", "sampling.negative_prompt=dark"], "sampling.negative_prompt", "negative_prompt has no effect with guidance_scale: 1: it needs one above 1"),
        (["sampling.matrix={guidance_scale: [0, 0.5]}", "sampling.guidance_rescale=0.7"], "sampling.guidance_rescale", "guidance_rescale has no effect with guidance_scale: 0.5: it needs one above 1"),
        (["sampling.matrix={num_inference_steps: [10, 20]}"], "sampling.num_inference_steps", "sampling.matrix gives num_inference_steps too, and wins: remove the line here"),
        (["sampling.matrix={scheduler: [{type: DDIM}]}", "scheduler={type: PNDM}"], "scheduler", "sampling.matrix gives scheduler too, and wins: remove the line here"),
        (["sampling.matrix={scheduler: [{type: DDIM}]}", "sampling.scheduler={type: PNDM}"], "sampling.scheduler", "sampling.matrix gives scheduler too, and wins: remove the line here"),
        (["sampling.matrix={seed: [1, 2, 1]}"], "sampling.matrix.seed.2", "this seed is in the list already"),
        (["sampling.matrix={scheduler: [{type: DDIM}, {type: DDIM}]}"], "sampling.matrix.scheduler.1", "this scheduler is in the list already"),
        (["scheduler={type: DDIM}", "sampling.scheduler={type: PNDM}"], "scheduler", "sampling.scheduler names the sampler, and wins: remove this section"),
        (["sampling.matrix={scheduler: [{type: PNDM}, {type: LCM}], eta: [0, 1]}"], "sampling.matrix.eta", "eta has no effect with PNDM or LCM: it goes with sampling.scheduler: {type: DDIM}"),
        (["sampling.matrix={scheduler: [{type: DDIM, rescale_betas_zero_snr: true, timestep_spacing: leading}]}"], "sampling.matrix.scheduler.0.timestep_spacing", "zero terminal SNR has no effect on pictures drawn with timestep_spacing: leading: use trailing"),
        (["sampling.scheduler={type: UniPCMultistep, flow_shift: 3}"], "sampling.scheduler.flow_shift", "flow_shift has no effect without use_flow_sigmas: true"),
        (["sampling.scheduler={type: UniPCMultistep, prediction_type: flow_prediction, use_flow_sigmas: true, use_dynamic_shifting: true, flow_shift: 3}"], "sampling.scheduler.flow_shift", "flow_shift has no effect with use_dynamic_shifting: true: remove one of them"),
        (["model.id=./old.ckpt"], "model.id", f"model.id {PICKLE}"),
        (["model.file=old.CKPT"], "model.file", f"model.file {PICKLE}"),
        (["model.embeddings=[{id: ./EasyNegative.pt}]"], "model.embeddings.0.id", f"model.embeddings[0].id {PICKLE}"),
        (["model.loras=[{id: a/b}, {id: a/b, file: pytorch_lora_weights.bin}]"], "model.loras.1.file", f"model.loras[1].file {PICKLE}"),
        (["compute.mixed_precision=fp16"], "compute.mixed_precision", "mixed_precision is of training, and nothing is trained: a model that draws takes dtype: fp16"),
        (["compute={device: cpu, offload: sequential}"], "compute.offload", "offload has no effect with device: cpu: there is no GPU's memory to save"),
        (["compute={attention_slicing: true, eager_attention: true}"], "compute.eager_attention", "eager_attention has no effect with attention_slicing: true, which cuts every attention: write one of them"),
        (["compute={attention_slicing: true, upcast_attention: true}"], "compute.upcast_attention", "upcast_attention has no effect with attention_slicing: true, which cuts every attention: write one of them"),
        (["compute={eager_attention: true, upcast_attention: true}"], "compute.upcast_attention", "upcast_attention has no effect with eager_attention: true, which writes the same attentions out: write one of them"),
    ],
)  # fmt: skip
def test_warnings(overrides: list[str], path: str, message: str) -> None:
    assert found(DRAW, overrides) == [("warning", path, message)]


@pytest.mark.parametrize(
    ("overrides", "path", "message"),
    [
        (["compute.dtype=bf16"], "compute.dtype", "dtype has no effect: it is of pretrained models that draw; a training takes mixed_precision: bf16"),
        (["compute.offload=model"], "compute.offload", "offload has no effect: it is of pretrained models that draw"),
        (["compute={device: cpu, offload: model}"], "compute.offload", "offload has no effect: it is of pretrained models that draw"),
        (["compute={attention_slicing: true, eager_attention: true}"], "compute.attention_slicing", "attention_slicing has no effect: it is of pretrained models that draw"),
        (["compute.vae_tiling=true"], "compute.vae_tiling", "vae_tiling has no effect: it is of pretrained models that draw"),
    ],
)  # fmt: skip
def test_warnings_of_a_training(overrides: list[str], path: str, message: str) -> None:
    assert found(TRAIN, overrides) == [("warning", path, message)]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [
            "sampling.prompt_syntax=weighted",
            "sampling.prompts=['((a)) rose BREAK']",
            "sampling.negative_prompt=(x:1.2)",
        ],
        ["sampling.prompts=['((a)) rose']", "sampling.matrix={prompt_syntax: [plain, weighted]}"],
        ["sampling.prompts=['a rose (red), the size 3:4 (see below: no), BREAKING, a [b]']"],
        ["sampling.prompts=prompts/a.txt"],
        ["sampling.prompts=null"],
        [
            "model.family=flux",
            "sampling.prompts=['((a)) rose']",
            "sampling.guidance_scale=1",
            "sampling.negative_prompt=x",
        ],
        ["sampling.negative_prompt=x"],  # the model's own guidance
        ["sampling.negative_prompt=x", "sampling.matrix={guidance_scale: [1, 5]}"],
        ["sampling.negative_prompt=x", "sampling.guidance_scale=1", "sampling.true_cfg_scale=2"],
        ["sampling.matrix={num_inference_steps: [20, 10]}"],  # the first of the list, as a settled recipe holds it
        ["sampling.matrix={}"],
        ["sampling.matrix={scheduler: [{type: DDIM}, {type: PNDM}], eta: [0, 1]}"],
        ["sampling.seeds=[4, 5]", "sampling.num_images=1", "sampling.seed=null"],
        ["sampling.init_image=../a.png", "sampling.mask_image=./b.png", "sampling.strength=0.05"],
        ["sampling.init_image=a.png", "sampling.strength=0.04", "sampling.num_inference_steps=auto"],
        ["sampling.strength=auto", "sampling.height=auto", "sampling.width=null"],
        ["sampling.height=8", "sampling.width=16384"],
        ["sampling.refiner={id: a/b, high_noise_frac: 0.01}"],
        [
            "sampling.scheduler={type: PNDM}",
            "sampling.num_inference_steps=2",
        ],  # Stable Diffusion's own skips the warmup
        ["sampling.trajectory=5"],
        ["model.id=./v1.safetensors", "model.config=./config"],
        ["model.file=v1.safetensors", "model.config=owner/name", "model.revision=main"],
        ["model.id=../../models/x", "model.subfolder=sd15/fp16", "model.variant=fp16"],
        ["model.embeddings=[{id: a/b}, {id: c/d}]", "model.loras=[{id: ~/x.safetensors, weight: 0}]"],
        ["compute={device: cuda, dtype: bf16, offload: model, attention_slicing: true, vae_slicing: true}"],
        ["compute={mixed_precision: fp32, dtype: fp32}"],  # as a settled recipe has them
        ["compute={device: cpu, offload: none, mixed_precision: auto}"],
        ["model.family=stable_diffusion_3", "scheduler={type: FlowMatchEulerDiscrete}"],
        ["sampling.scheduler={type: DPMSolverMultistep, prediction_type: flow_prediction, use_flow_sigmas: true}"],
        ["sampling.scheduler={type: UniPCMultistep, use_flow_sigmas: false, use_karras_sigmas: true}"],
        ["sampling.scheduler={type: FlowMatchEulerDiscrete, shift_terminal: 0.1}", "sampling.num_inference_steps=2"],
        ["model.family=sdxl_refiner", "sampling.prompt_syntax=weighted"],
    ],
)
def test_silence(overrides: list[str]) -> None:
    assert found(DRAW, overrides) == []


@pytest.mark.parametrize(
    ("overrides", "paths"),
    [
        (["model.loras=[{id: 'http://x/y', wieght: 1}]"], ["model.loras.0.wieght"]),
        (["sampling.matrix={scheduler: [{type: xyzzy}]}", "sampling.num_inference_steps=2"], ["sampling.matrix.scheduler.0.type"]),
        (["sampling.strength=x", "sampling.init_image=null"], ["sampling.strength"]),
        (["model.type=xyzzy", "sampling.mask_image=x"], ["model.type"]),
        (["sampling.init_imag=./a.png", "sampling.mask_image=./b.png"], ["sampling.init_imag"]),
    ],
)  # fmt: skip
def test_rules_keep_still_about_keys_that_are_broken_already(overrides: list[str], paths: list[str]) -> None:
    assert [path for _, path, _ in found(DRAW, overrides)] == paths


def test_a_recipe_without_a_model_is_told_of_that_alone() -> None:
    text = "version: 1\nname: n\nsampling: {prompts: [a rose], height: 500, matrix: {seed: [1]}}\n"
    assert found(text, []) == [("error", "sampling", "sampling needs a model: add 'model: {type: pretrained, id: …}'")]


def test_what_show_prints_of_a_pretrained_recipe_is_silent_too() -> None:
    for overrides in (["sampling.seeds=[1, 2]"], ["sampling.matrix={scheduler: [{type: DDIM}], seed: [1, 2]}"]):
        values = read(parse(DRAW, "trial.yaml"), overrides)[0].values
        assert found(to_yaml(values, header=True), []) == []
