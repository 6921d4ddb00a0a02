"""On a GPU: training and drawing in the sizes of real models, beside diffusers' own loops and pipelines.

    python -m tests.benchmarks.gpu [--folder DIR] [--rounds 5] [--steps 10] [--batch-size 16] [--small] [WORK …]

The models have the configurations of Stable Diffusion 1.5 and SDXL and random weights; the pixel UNet is the one of
recipes/flowers_ddpm.yaml. Recipes have every key of `compute` as it is by default, unless a kind's name says other;
the peers' loops are diffusers' train_text_to_image(_lora) and train_unconditional, with eight workers that load
pictures, and denoising_diffusion_pytorch's Trainer, in bf16. A pass forward and backward counts as three forward ones,
and as two where only an adapter learns. Peaks of memory are of the process, the first steps included. Needs the extra
`benchmarks`. Works: see WORKS.
"""

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from tests.benchmarks import drawers, finetune, models, peers, product
from tests.benchmarks.pairs import Kind, Worker, arguments, rounds, settle_vision, spread

FLOWERS_UNET = {"block_out_channels": [64, 128, 256, 512]}
"""The UNet of recipes/flowers_ddpm.yaml."""

PROMPTS = drawers.PROMPTS[:1]
LOADERS = 8
INFERENCE_STEPS = 30
SETTINGS = {
    ", not compiled": {"compile": False},
    ", channels first": {"channels_last": False},
    "": {},
}
"""Of `compute`, for training."""

DRAWING = {
    "": {},
    ", channels last": {"channels_last": True},
    ", compiled": {"channels_last": True, "compile": True},
}
_meta = partial(torch.empty, device="meta")


@dataclass(frozen=True)
class Work:
    """Kinds of the same work: the first fills the caches that others use, and they are compared with the last.

    Attributes:
        images: of one step.
        flops: of one image.
        turn: the option that tells how many steps a turn has.
    """

    kinds: dict[str, Kind]
    images: int
    flops: float
    turn: str = "steps"


class Bench:
    """What the works need, made once: models, pictures, caches.

    Args:
        root: the folder for all of it.
        small: whether models are as small as tests need, and pictures as small.
        batch_size: pictures of a step of SD 1.5; SDXL, at twice its sides, has a quarter of them.
    """

    def __init__(self, root: Path, small: bool, batch_size: int) -> None:
        self.root, self.small, self.batch_size = root, small, batch_size
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def model(self, name):
        """The folder of a model: 'sd' or 'sdxl'."""
        folder = self.root / name
        if not folder.exists():
            write = {"sd": models.stable_diffusion, "sdxl": models.stable_diffusion_xl}[name]
            with torch.device(self.device):
                write(folder, **(models.SMALL[name] if self.small else {}))
        return folder

    def pictures(self, pixels):
        """A folder of pictures with captions."""
        folder = self.root / f"pictures-{pixels}"
        return folder if folder.exists() else product.draw_folder(folder, 128 if pixels <= 128 else 32, pixels)

    def pixels(self, pixels):
        """So many, or few."""
        return 64 if self.small else pixels

    def finetuned(self, method, name, batch_size, pixels):
        """Training of a latent model by the product, as it is by default and with other settings."""
        what = (self.model(name), self.pictures(pixels), method, pixels, batch_size)
        return {
            f"recipe{said}": partial(product.train, finetune.ours(*what, {}, compute), self.root / "cache")
            for said, compute in SETTINGS.items()
        }

    def stable_diffusion(self, method):
        """Training of SD 1.5 at 512 px."""
        size, pixels = self.batch_size, self.pixels(512)
        kinds = self.finetuned(method, "sd", size, pixels)
        what = (self.model("sd"), self.pictures(pixels), method, pixels, size)
        kinds["diffusers"] = partial(finetune.script, *what, "bf16", workers=LOADERS)
        return Work(kinds, size, (3 if method == "full" else 2) * self.flops("sd", pixels))

    def sdxl_lora(self):
        """A LoRA of SDXL at 1024 px."""
        size, pixels = max(1, self.batch_size // 4), self.pixels(1024)
        return Work(self.finetuned("lora", "sdxl", size, pixels), size, 2 * self.flops("sdxl", pixels))

    def pixel(self):
        """The pixel UNet of the flowers recipe, 128 px, steps of 2 × 16."""
        pixels, pictures = self.pixels(128), self.pictures(self.pixels(128))
        values = {
            "data": {"type": "folder", "id": str(pictures), "resolution": pixels, "random_flip": True},
            "model": {"type": "pixel_unet", **FLOWERS_UNET},
            "scheduler": {"type": "DDPM"},
            "training": {"batch_size": 16, "gradient_accumulation_steps": 2, "ema": {"decay": 0.995}},
        }
        config = product.settled(values).model.configs["unet"]
        unet = {key: value for key, value in config.items() if key != "sample_size"}
        how, same = (pictures, pixels, 16, "bf16"), {"unet": unet, "accumulation": 2}
        kinds = {
            f"recipe{said}": partial(product.train, {**values, "compute": compute}, self.root / "cache")
            for said, compute in SETTINGS.items()
        }
        kinds["lucidrains"] = partial(peers.lucidrains, *how, self.root / "theirs", **same)
        kinds["diffusers"] = partial(peers.unconditional, *how, workers=LOADERS, **same)
        return Work(kinds, 32, 3 * models.flops("UNet2DModel", config, _meta(1, 3, pixels, pixels)))

    def drawing(self, name, pixels):
        """One picture a draw, with guidance."""
        pixels, model = self.pixels(pixels), self.model(name)
        sampling = {"prompts": PROMPTS, "num_inference_steps": INFERENCE_STEPS, "guidance_scale": 7.5}
        sampling |= {"height": pixels, "width": pixels}
        kinds = {f"recipe{how}": partial(drawers.stage, model, sampling, compute) for how, compute in DRAWING.items()}
        plain = partial(drawers.latent_pipeline, model, pixels, INFERENCE_STEPS, device=self.device, prompts=PROMPTS)
        kinds["diffusers, fp16"] = partial(plain, dtype="float16" if self.device == "cuda" else "float32")
        kinds["diffusers"] = plain
        return Work(kinds, len(PROMPTS), 2 * INFERENCE_STEPS * self.flops(name, pixels), "draws")

    def flops(self, name, pixels):
        """Operations of the UNet for one picture."""
        small = models.SMALL[name]["unet"] if self.small else {}
        config = {"sd": models.SD_UNET, "sdxl": models.SDXL_UNET}[name] | small
        told = {"encoder_hidden_states": _meta(1, 77, config["cross_attention_dim"])}
        if "addition_embed_type" in config:
            told["added_cond_kwargs"] = {"text_embeds": _meta(1, 1280), "time_ids": _meta(1, 6)}
        return models.flops("UNet2DConditionModel", config, _meta(1, 4, pixels // 8, pixels // 8), **told)


WORKS = {
    "sd-full": lambda bench: bench.stable_diffusion("full"),
    "sd-lora": lambda bench: bench.stable_diffusion("lora"),
    "sdxl-lora": Bench.sdxl_lora,
    "pixel": Bench.pixel,
    "sd-draw": lambda bench: bench.drawing("sd", 512),
    "sdxl-draw": lambda bench: bench.drawing("sdxl", 1024),
}


def matrix_peak(device):
    """Operations a second of products of bf16 matrices, 8192 × 8192, the median of twenty."""
    if device == "cpu":
        return float("nan")
    a, b = torch.randn(2, 8192, 8192, device=device, dtype=torch.bfloat16)
    seconds = []
    for _ in range(25):
        torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 2 * 8192**3 / statistics.median(seconds[5:])


def started(stack, kinds, options):
    """The workers of all kinds that work, warm. It says how long each takes, and why one does not work."""
    workers = []
    for name, kind in kinds.items():
        start = time.perf_counter()
        worker = Worker(name, kind)
        stack.callback(worker.close)
        worker.begin(options.warm)
        try:
            worker.end(options.patience)
        except SystemExit as error:
            print(f"left out after {time.perf_counter() - start:.0f} s: {error}", file=sys.stderr, flush=True)
        else:
            print(f"'{name}' is warm after {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            workers.append(worker)
    return workers


def measure(name, work, options, peak):
    """Loads the kinds of a work, measures them in turns, and prints a row for each."""
    with ExitStack() as stack:
        workers = started(stack, work.kinds, options)
        how = argparse.Namespace(rounds=options.rounds, steps=vars(options)[work.turn])
        show(name, work, rounds(workers, how), how.steps, peak)


def show(name, work, turns, steps, peak):
    """Prints the rows of a work."""
    base = turns.get(list(work.kinds)[-1])
    for kind, found in turns.items():
        rates = [steps * work.images / turn.clock for turn in found]
        over = [b.clock / turn.clock for turn, b in zip(found, base)] if base is not None else [float("nan")]
        flops = statistics.median(rates) * work.flops
        print(f"{name:10} {kind:22}{spread(rates, 3):>26}{spread(over, 2):>26}", end="")
        print(f"{flops / 1e12:10.1f}{flops / peak:8.1%}{found[-1].peak / 2**10:8.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help="only these kinds")
    parser.add_argument("--folder", type=Path, help="keeps models and caches")
    parser.add_argument("--batch-size", type=int, default=16, help="of SD 1.5; SDXL's is a quarter of it")
    parser.add_argument("--small", action="store_true", help="small models and pictures, to try the command")
    parser.add_argument("--patience", type=float, help="seconds after which a kind that is not warm is left out")
    parser.add_argument("--draws", type=int, default=2, help="how many pictures a turn of drawing has")
    arguments(parser, rounds=5, steps=10, warm=3)
    options = parser.parse_args()
    settle_vision()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(options.folder or Path(temporary), options.small, options.batch_size)
        bench.root.mkdir(parents=True, exist_ok=True)
        peak = matrix_peak(bench.device)
        where = torch.cuda.get_device_name() if bench.device == "cuda" else "a CPU"
        print(f"{where}, torch {torch.__version__}, products of bf16 matrices: {peak / 1e12:.0f} TFLOP/s")
        print(f"{'':33}{'images/s':>26}{'times the last row':>26}{'TFLOP/s':>10}{'of it':>8}{'GiB':>8}", flush=True)
        for name in options.works or WORKS:
            work = WORKS[name](bench)
            kinds = {kind: call for kind, call in work.kinds.items() if kind in (options.kinds or work.kinds)}
            measure(name, replace(work, kinds=kinds), options, peak)


if __name__ == "__main__":
    main()
