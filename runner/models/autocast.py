"""torch.autocast for torch's meta device, which has none: in which number formats a step keeps its tensors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

_NARROW = {
    *(torch.conv1d, torch.conv2d, torch.conv3d, torch.conv_transpose1d, torch.conv_transpose2d),
    *(torch.bmm, torch.baddbmm, torch.addmm, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__),
    *(F.linear, F.scaled_dot_product_attention),
}
_WIDE = {F.group_norm, F.layer_norm, F.softmax, torch.softmax, torch.Tensor.softmax}
"""What of torch's own lists (aten/src/ATen/autocast_mode.h) models use; a CPU's norms stay narrow."""


class Autocast(TorchFunctionMode):
    """What is called inside computes in the number format that autocast gives it on a device.

    Like the real one it is off where torch.autocast is turned off, as that of a CPU.

    Args:
        device: its type.
        dtype: the narrow number format.

    Attributes:
        copies: of each weight that is cast, which is done once in a pass.
    """

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.copies: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._dtype, self._wide = dtype, set() if device == "cpu" else _WIDE
        self._real = torch.autocast("cpu", dtype)

    def __enter__(self) -> Autocast:
        self._real.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._real.__exit__(*error)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        if func in _NARROW:
            args, kwargs = tree_map_only(torch.Tensor, self._narrow, (args, kwargs))
        elif func in self._wide:
            args, kwargs = tree_map_only(torch.Tensor, torch.Tensor.float, (args, kwargs))
        return func(*args, **kwargs)

    def _narrow(self, tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            return tensor.to(self._dtype) if tensor.is_floating_point() else tensor
        if tensor not in self.copies:
            self.copies[tensor] = tensor.to(self._dtype)
        return self.copies[tensor]
