"""OverFeat, the large network, with a reader for the weight file of its release.

Architecture: Sermanet et al. 2014, "OverFeat: Integrated Recognition,
Localization and Detection using Convolutional Networks", ICLR, table 3 (the
"accurate" model). Input scaling and the layout of the weight file are those of
the program that the authors published (https://github.com/sermanet/OverFeat).
Its licence allows research use and no redistribution: the weight file
``net_weight_1`` must be fetched by whoever uses it.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bids_encoder.errors import DataError
from bids_encoder.networks.preprocess import Preprocess

WEIGHT_FILE = "net_weight_1"
INPUT_SIZE = 231  # as Eickenberg et al. 2017 used it; the network was trained at 221
# One mean and one deviation for all three channels.
PREPROCESS = Preprocess(INPUT_SIZE, (118.380948,) * 3, (61.896913,) * 3)
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "fc7", "fc8")
"""Default layers; "fc9", the class scores, can be asked for."""
CITATION = (
    "Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun (2014). OverFeat: Integrated Recognition, "
    "Localization and Detection using Convolutional Networks. ICLR."
)

# name: (outputs, inputs, kernel, stride, padding, pooling behind it)
_ARCHITECTURE = {
    "conv1": (96, 3, 7, 2, 0, 3),
    "conv2": (256, 96, 7, 1, 0, 2),
    "conv3": (512, 256, 3, 1, 1, 0),
    "conv4": (512, 512, 3, 1, 1, 0),
    "conv5": (1024, 512, 3, 1, 1, 0),
    "conv6": (1024, 1024, 3, 1, 1, 3),
    # Full layers are convolutions, so that larger pictures give maps of answers.
    "fc7": (4096, 1024, 5, 1, 0, 0),
    "fc8": (4096, 4096, 1, 1, 0, 0),
    "fc9": (1000, 4096, 1, 1, 0, 0),
}
ALIASES = {name: f"{name}_relu" for name in LAYERS} | {"fc9": "fc9"}


class OverFeat(nn.Sequential):
    """The large ("accurate") network: 9 layers, 144,656,488 parameters.

    Input (n, 3, 231, 231) gives 96 x 113 x 113 at the first layer. The
    original's threshold puts 1e-6 where a ReLU puts 0; a ReLU is used here.
    """

    def __init__(self) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for name, (outputs, inputs, kernel, stride, padding, pool) in _ARCHITECTURE.items():
            parts[name] = nn.Conv2d(inputs, outputs, kernel, stride, padding)
            if name != "fc9":
                parts[f"{name}_relu"] = nn.ReLU()
            if pool:
                parts[f"{name}_pool"] = nn.MaxPool2d(pool)
        super().__init__(parts)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the raw weight file of the large network (``net_weight_1``).

    The file is nothing but little-endian float32 numbers: for each layer its
    weights (outputs, inputs, rows, columns), then its biases. They are mapped
    into memory, not copied.

    Raises
    ------
    DataError
        The file does not have exactly the size of these numbers.
    """
    sizes = {
        name: ((outputs, inputs, kernel, kernel), (outputs,))
        for name, (outputs, inputs, kernel, *_) in _ARCHITECTURE.items()
    }
    wanted = 4 * sum(int(np.prod(shape)) for pair in sizes.values() for shape in pair)
    found = Path(path).stat().st_size
    if found != wanted:
        raise DataError(
            "The file is not the weight file of the large OverFeat network, or is cut short.",
            file=path,
            found=f"{found:,} bytes",
            expected=f"{wanted:,} bytes",
            remedy=f"give {WEIGHT_FILE} of the OverFeat release (net_weight_0 is the small one)",
        )
    numbers = np.memmap(path, "<f4", mode="c")
    state = {}
    start = 0
    for name, shapes in sizes.items():
        for kind, shape in zip(("weight", "bias"), shapes, strict=True):
            stop = start + int(np.prod(shape))
            state[f"{name}.{kind}"] = torch.from_numpy(numbers[start:stop].reshape(shape))
            start = stop
    return state


def with_weights(path: str | Path) -> OverFeat:
    """Return the network on top of the weight file, without a second copy in memory."""
    with torch.device("meta"):
        network = OverFeat()
    network.load_state_dict(read_weights(path), assign=True)
    return network
