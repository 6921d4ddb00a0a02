"""An image-to-text model in memory: pictures in, captions out."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import transformers
from PIL import Image

from runner.captioning.model import BLIP, CaptionFacts
from runner.captioning.words import tidy
from runner.errors import EnvironmentFault, ModelError, RecipeError, Refused, causes
from runner.memory import guarded
from runner.models.quiet import quiet
from runner.models.weights import check_finite
from runner.shown import shown

if TYPE_CHECKING:
    from runner.progress import Progress

ASKED = "Describe this picture in one sentence."
"""What a model that is talked to is told where the recipe has no prompt."""

_GIT = "git"
_GOES_ON = {BLIP, _GIT}  # their prompt begins the caption; with others it is no part of it


class Captioner:
    """A captioner, greedy and so repeatable. Its files are downloaded where they are not here yet.

    Args:
        section: the settled `data.caption`: prompt, batch_size, max_new_tokens.
        dtype: the number format of its weights.

    Raises:
        ModelError: a file is damaged, or the weights are not those of the configuration.
        EnvironmentFault: the hub, the disk or the memory; a package that this model needs is not installed.
        Refused: its weights are a pickle of more than weights.
    """

    def __init__(
        self,
        facts: CaptionFacts,
        section: dict[str, Any],
        *,
        device: torch.device,
        dtype: torch.dtype,
        progress: Progress,
    ) -> None:
        self._facts, self._section, self._device, self._dtype = facts, section, device, dtype
        root = facts.files.fetch(facts.names, progress)
        quiet()
        cls = getattr(transformers, facts.cls)
        processor = transformers.BlipProcessor if facts.model_type == BLIP else transformers.AutoProcessor
        with self._faults("loaded"):
            self.processor: Any = processor.from_pretrained(root, local_files_only=True, trust_remote_code=False)
            self.model, info = cls.from_pretrained(
                root,
                dtype=dtype,
                use_safetensors=any(name.endswith(".safetensors") for name in facts.names),
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
            self._check(info["missing_keys"])
            self.model.to(device).eval()
            self._set_up()

    def __call__(self, images: Sequence[Image.Image]) -> list[str]:
        """A caption for each of these RGB pictures, '' where the model says nothing.

        Raises:
            ModelError: the model fails on them.
            EnvironmentFault: out of memory.
        """
        with self._faults("used"), torch.inference_mode():
            inputs = self._inputs(list(images)).to(self._device, dtype=self._dtype)
            ids = self.model.generate(
                **inputs, max_new_tokens=self._section["max_new_tokens"], do_sample=False, num_beams=1
            )
            texts = self.processor.batch_decode(self._own(ids, inputs.get("input_ids")), skip_special_tokens=True)
        return [tidy(text) for text in texts]

    def _inputs(self, images: list[Image.Image]) -> Any:
        prompt = self._section["prompt"]
        if self._template is None:
            text: dict[str, Any] = {} if prompt is None else {"text": [prompt] * len(images)}
            if text and self._facts.model_type == _GIT:  # the mark at a text's end would end the caption there
                begun = f"{self.processor.tokenizer.cls_token} {prompt}"
                text = {"text": [begun] * len(images), "add_special_tokens": False, "return_token_type_ids": False}
            return self.processor(images=images, return_tensors="pt", **text)
        said = {"type": "text", "text": ASKED if prompt is None else prompt}
        return self.processor.apply_chat_template(
            [[{"role": "user", "content": [{"type": "image", "image": image}, said]}] for image in images],
            chat_template=self._template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )

    def _own(self, ids: torch.Tensor, asked: torch.Tensor | None) -> torch.Tensor:
        """Of what a decoder gives back, (B, n), its own words: most repeat the tokens that they were asked with."""
        if asked is None or self._facts.model_type in _GOES_ON or ids.shape[1] < asked.shape[1]:
            return ids
        return ids[:, asked.shape[1] :] if torch.equal(ids[:, : asked.shape[1]], asked) else ids

    def _set_up(self) -> None:
        tokenizer = self.processor.tokenizer
        self._template = getattr(self.processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
        if isinstance(self._template, dict):
            self._template = self._template.get("default")
        if self._template is not None:
            tokenizer.padding_side = "left"  # a decoder goes on from the last token
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token

    def _check(self, missing: Any) -> None:
        title = shown(self._facts.files.origin)
        if missing:
            named = shown(", ".join(sorted(map(str, missing))[:3]))
            raise ModelError(f"{title} does not fit its config.json: its weights lack {named}; get the model again")
        check_finite(self.model.state_dict().items(), title)

    @contextmanager
    def _faults(self, done: str) -> Iterator[None]:
        """Turns what transformers raises into one sentence: it raises nearly anything."""
        title, batch_size = shown(self._facts.files.origin), self._section["batch_size"]
        mends = [f"data.caption.batch_size={batch_size // 2}"] if batch_size > 1 else []
        try:
            with guarded({"compute": {"device": self._device.type}}, mends):
                yield
        except RecipeError:
            raise
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise EnvironmentFault(f"{title} needs a package that is not installed: {shown(reason)}") from error
        except Exception as error:
            if any(isinstance(cause, pickle.UnpicklingError) for cause in causes(error)):
                raise Refused(f"{title} holds more than weights: take a model with .safetensors files") from error
            reason = shown(str(error).strip().split("\n")[0])
            raise ModelError(
                f"{title} cannot be {done} ({type(error).__name__}: {reason}): "
                "correct data.caption.prompt or choose another model"
            ) from error
