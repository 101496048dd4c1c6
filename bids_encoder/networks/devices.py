"""Where the network runs."""

from __future__ import annotations

import torch

from bids_encoder.errors import UsageError


def resolve_device(name: str = "auto") -> str:
    """Return "cuda" or "cpu" for the option auto, cpu or cuda.

    Raises
    ------
    UsageError
        CUDA is wanted, and there is none; or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(
            "There is no such device.",
            place="--device",
            found=name,
            expected="auto, cpu or cuda",
        )
    if name == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda
        found = "PyTorch sees no CUDA device" if built else "this PyTorch was built without CUDA"
        raise UsageError(
            "A CUDA device is wanted, but there is none to be used.",
            place="--device cuda",
            found=found,
            expected="an NVIDIA GPU with a driver that fits this PyTorch",
            remedy="give --device cpu (or auto), or check with nvidia-smi",
        )
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
