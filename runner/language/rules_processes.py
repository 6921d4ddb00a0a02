"""Rules of processes that train together."""

from __future__ import annotations

from collections.abc import Iterator

from runner.language.view import Rule, Told, View, rule


@rule("unused-key")
def processes_train(view: View) -> Iterator[Told]:
    for key in ("processes", "strategy"):
        if not view.has("training") and view.chosen(f"compute.{key}"):
            yield Told(
                f"compute.{key}", "processes share a training, and nothing is trained: one process draws", "warning"
            )


@rule("processes")
def processes_share_a_step(view: View) -> Iterator[Told]:
    count = view.get("compute.processes")
    if not view.has("training") or count == 1:
        return
    samples = view.get("training.batch_size") * view.get("training.gradient_accumulation_steps")
    if count > samples:
        held = "1 sample" if samples == 1 else f"{samples} samples"
        yield Told(
            "compute.processes" if view.written("compute.processes") else "training.batch_size",  # a launcher's number
            f"a step has {held} (batch_size × gradient_accumulation_steps), and {count} processes would share them: "
            f"give it more, or take {samples} at most",
        )


@rule("processes")
def processes_do_not_shrink(view: View) -> Iterator[Told]:
    if view.has("training") and view.get("compute.processes") > 1 and view.get("training.on_oom") == "shrink":
        yield Told(
            "training.on_oom",
            "shrink is of one process, since others cannot wait for one that begins a step again: write stop",
        )


@rule("device")
def processes_have_devices(view: View) -> Iterator[Told]:
    device, count = view.get("compute.device"), view.get("compute.processes")
    if device == "mps" and count > 1 and view.has("training"):
        yield Told("compute.processes", f"{count} processes cannot share mps: write 1, or device: cpu")


@rule("fsdp")
def fsdp_needs_gpus(view: View) -> Iterator[Told]:
    if view.get("compute.strategy") == "fsdp" and view.get("compute.device") == "cpu" and view.has("training"):
        yield Told(
            "compute.strategy",
            "fsdp needs GPUs: on a CPU accelerate trains as with ddp without saying so; write ddp",
        )


RULES: list[Rule] = [
    processes_train,
    processes_share_a_step,
    processes_do_not_shrink,
    processes_have_devices,
    fsdp_needs_gpus,
]
