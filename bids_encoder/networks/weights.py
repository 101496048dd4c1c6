"""Weight files: found, checked, read without running anything that is in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bids_encoder.errors import DataError, MissingInputError

# torchvision's names end in the first digits of the file's SHA-256.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")
# Heads that only serve training, and counters that older files lack.
_NOT_NEEDED = re.compile(r"^(AuxLogits|aux1|aux2)\.|\.num_batches_tracked$")
_DENSENET_OLD_KEY = re.compile(r"\.(norm|relu|conv)\.([12])\.")


def find_weights(
    file_name: str, url: str | None, weights_dir: str | Path | None, allow_downloads: bool
) -> Path:
    """Return the path of a weight file.

    Looked for in `weights_dir` (which may also be the file itself), then where
    torch.hub keeps its files. Fetched only when `allow_downloads`.

    Raises
    ------
    MissingInputError
        Not there, or the download failed.
    """
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    places = [cache]
    if weights_dir is not None:
        weights_dir = Path(weights_dir)
        if weights_dir.is_file():
            return weights_dir
        if weights_dir.suffix in (".pt", ".pth") and not weights_dir.is_dir():
            raise MissingInputError(
                "The weight file is missing.",
                file=weights_dir,
                remedy="correct the path of --weights-dir",
            )
        places = [weights_dir, cache]
    for place in places:
        if (place / file_name).is_file():
            return place / file_name
    if allow_downloads and url is not None:
        return _download(url, places[0] / file_name)
    yourself = f"put {file_name} into {places[0]}"
    download = "; or give --allow-downloads where there is internet" if url else ""
    raise MissingInputError(
        "The weights of the network are not on this machine.",
        file=file_name,
        found="not in " + " nor in ".join(str(place) for place in places),
        expected="one file of weights; nothing is fetched unless allowed",
        remedy=yourself + (f" (from {url})" if url else "") + download,
    )


def _download(url: str, target: Path) -> Path:
    match = _HASH_IN_NAME.search(target.name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(target), hash_prefix=match and match[1], progress=False
        )
    # URLError and a broken connection are OSErrors; a wrong checksum is a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise MissingInputError(
            "The weights of the network could not be downloaded.",
            file=target.name,
            found=error,
            remedy=f"fetch {url} on a machine with internet and put it into {target.parent}",
        ) from None
    return target


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict (parameters and buffers by name) without running code in the file.

    Raises
    ------
    DataError
        Not a state dict, damaged, or not what the checksum in its name says.
    """
    match = _HASH_IN_NAME.search(path.name)
    if match:
        with path.open("rb") as file:
            found = file_digest(file)
        if not found.startswith(match[1]):
            raise DataError(
                "A weight file is not what its name says: it is damaged or cut short.",
                file=path,
                found=f"SHA-256 {found[: len(match[1])]}…, {path.stat().st_size:,} bytes",
                expected=f"SHA-256 {match[1]}…",
                remedy="delete it and fetch it again; a file of your own needs a name of its own",
            )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch.load fails in many ways: RuntimeError, UnpicklingError, EOFError, KeyError ...
    except Exception as error:
        raise DataError(
            "A weight file cannot be read.",
            file=path,
            found=str(error).strip().splitlines()[0][:200] if str(error) else type(error).__name__,
            expected="a PyTorch state dict, as torch.save(network.state_dict(), ...) writes it",
            remedy="fetch the file again, or save the state dict alone",
        ) from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        keys = {type(key).__name__ for key in state} if isinstance(state, Mapping) else set()
        raise DataError(
            "A weight file holds no state dict.",
            file=path,
            found=type(state).__name__
            + (f" with keys of type {', '.join(sorted(keys))}" if keys - {"str"} else ""),
            expected="tensors by parameter name",
            remedy="save with torch.save(network.state_dict(), ...)",
        )
    # DataParallel puts "module." before every name.
    return {key.removeprefix("module."): value for key, value in state.items()}


def apply_state(
    module: nn.Module, state: Mapping[str, torch.Tensor], *, name: str, file: str | Path
) -> None:
    """Put a state dict into a network.

    Raises
    ------
    DataError
        The weights are those of another network: the first few differences.
    """
    if name.startswith("densenet"):  # published before PyTorch forbade dots in names
        state = {_DENSENET_OLD_KEY.sub(r".\1\2.", key): value for key, value in state.items()}
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in state and not _NOT_NEEDED.search(key)]
    extra = [key for key in state if key not in wanted and not _NOT_NEEDED.search(key)]
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if missing or extra or shapes:
        found = _few("lacks", missing) + _few("has besides", extra) + _few("shapes:", shapes)
        raise DataError(
            f"The weights are not those of {name}.",
            file=file,
            found="; ".join(found),
            expected=f"the {len(wanted)} tensors of {name}",
            remedy="give the weights of this network, or the --network of these weights",
        )
    module.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)


def _few(word: str, names: list[str], most: int = 3) -> list[str]:
    if not names:
        return []
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return [f"{word} {', '.join(names[:most])}{rest}"]


def checksum(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers, with their names and shapes."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{key} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(memoryview(array.numpy().reshape(-1)).cast("B") if array.numel() else b"")
    return digest.hexdigest()


def file_digest(file) -> str:
    """Return the SHA-256 of an open binary file, read in pieces."""
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()
