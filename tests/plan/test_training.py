"""What the plan says of a training stage's memory."""

from tests.plan.test_processes import planned


def test_scores_that_are_written_out_take_memory(here, capsys):
    """Four attentions of 64 tokens, 2 heads and 2 pictures, in fp32; the fused kernel keeps what it gives instead."""
    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    fused, eager = (
        planned(capsys, f"compute.eager_attention={on}", "compute.mixed_precision=fp32", model=blocks)["training"]
        for on in ("false", "true")
    )
    more = eager["memory"]["activations"] - fused["memory"]["activations"]
    scores, given = 2 * 64 * 64, 64 * 16
    assert more == 4 * 2 * (scores - given) * 4
    assert eager["flops"] == fused["flops"]
