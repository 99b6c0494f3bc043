"""The number format in which a module computes while it is trained."""

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

FORMATS = {True: torch.bfloat16, "bfloat16": torch.bfloat16, "float16": torch.float16}
#: Names, among the capabilities of a processor, of instructions that multiply in bfloat16.
NATIVE_BFLOAT16 = ("amx_bf16", "avx512_bf16", "bf16")
#: Weights of a dense layer from which bfloat16 is faster than float32 on such a processor.
MIN_DENSE_WEIGHTS = 2**16


def resolve_precision(est, module, dtype, device):
    """Return the torch dtype of the multiplications of a module in training.

    Parameters
    ----------
    est : ModuleClassifier or ModuleRegressor
        With ``mixed_precision``.
    module : torch.nn.Module
    dtype, device : torch.dtype, torch.device
        Of the rows.
    """
    wanted = est.mixed_precision
    if wanted is False:
        return dtype
    if wanted == "auto":
        gains = dtype == torch.float32 and _computes_bfloat16(device) and _is_large(module)
        return torch.bfloat16 if gains else dtype
    if dtype != torch.float32:
        raise ValueError(
            f"mixed_precision={wanted!r} needs float32 rows, X is {str(dtype)[6:]}: set "
            "mixed_precision=False, or pass X.astype('float32')."
        )
    if wanted == "float16" and device.type != "cuda":
        raise ValueError(
            f"mixed_precision='float16' needs a CUDA device, got device={est.device!r}: set "
            "mixed_precision='bfloat16', whose numbers have the range of float32."
        )
    return FORMATS[wanted]


def _computes_bfloat16(device):
    """Return whether a device has instructions for bfloat16, without which it is slow."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # newer than torch 2.6
    return any(capabilities.get(name) for name in NATIVE_BFLOAT16)


def _is_large(module):
    return any(
        isinstance(layer, _ConvNd)
        or (isinstance(layer, nn.Linear) and layer.weight.numel() >= MIN_DENSE_WEIGHTS)
        for layer in module.modules()
    )


def autocast(device, precision, dtype):
    """Return the context in which the module computes in ``precision`` on rows of ``dtype``."""
    return torch.autocast(device.type, dtype=precision, enabled=precision != dtype)
