"""A faster `nn.Linear` for float32 on the CPU: oneDNN's matrix product instead of the BLAS one.

The BLAS of common torch builds reaches half of oneDNN's speed on CPUs of other makers than its own. The
weight stays where it is (no packing), so it may alias an image. 16-bit products use oneDNN already.
"""

import torch
from torch import Tensor, nn


class OneDnnLinear(nn.Linear):
    """`nn.Linear` without gradients."""

    def forward(self, input: Tensor) -> Tensor:
        """Multiply [..., in_features] by the transposed weight and add the bias."""
        multiply = torch.ops.mkldnn._linear_pointwise
        product: Tensor = multiply(input, self.weight, self.bias, "none", [], "")
        return product


def use_onednn(model: nn.Module) -> None:
    """Replace every `nn.Linear` of `model`, still on the meta device, if this torch has oneDNN."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                sizes = (child.in_features, child.out_features, child.bias is not None)
                setattr(parent, name, OneDnnLinear(*sizes, device="meta"))
