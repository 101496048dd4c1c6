"""Pictures as they were shown: any common picture file becomes 8-bit RGB."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bids_encoder.errors import DataError
from bids_encoder.stimuli.files import read_bytes

GREY = 128
"""The uniform mid-grey of an empty screen, of margins and behind transparency."""

BLANK = ""
"""The stimulus id of an empty screen."""

# Pillow knows more, but some of its plugins start other programs (EPS: ghostscript).
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000")
_MAX_PIXELS = 100_000_000


def blank_image(height: int = 16, width: int = 16) -> np.ndarray:
    """Return an empty screen: uniform grey, (height, width, 3) uint8."""
    return np.full((height, width, 3), GREY, np.uint8)


def read_image(path: str | Path) -> np.ndarray:
    """Read one picture.

    Grey, 16-bit grey (scaled to 8 bits), 1-bit, palette and CMYK pictures become
    RGB; transparent parts show uniform mid-grey (128); a rotation noted in the
    EXIF header is applied. Colour profiles are ignored, as most stimulus
    software ignores them.

    Parameters
    ----------
    path : path
        PNG, JPEG, BMP, GIF, TIFF, WebP, JPEG 2000 or PPM.

    Returns
    -------
    image : array (height, width, 3), uint8
        RGB, sRGB assumed.

    Raises
    ------
    MissingInputError
        No such file, or its content was not fetched (git-annex).
    DataError
        Empty, damaged, animated or too large; or no picture at all.
    """
    return decode_image(read_bytes(path), path)


def check_image(path: str | Path) -> None:
    """Find out whether a picture can be read, several times as fast for a JPEG as reading it.

    Raises
    ------
    MissingInputError, DataError
        As `read_image`.
    """
    decode_image(read_bytes(path), path, draft=True)


def decode_image(data: bytes, path: str | Path, *, draft: bool = False) -> np.ndarray:
    """Decode the content of a picture file; as `read_image`, `path` is for messages.

    With `draft` a JPEG is decoded at an eighth of its size: the whole file is read, but less
    is computed.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _refuse_what_is_no_single_picture(image, path)
            if draft:
                image.draft(None, (1, 1))
            image.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(image), path))
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, error) from None
    except Image.UnidentifiedImageError:
        raise DataError(
            "A stimulus is not a picture that can be read.",
            file=path,
            found=f"a file that begins with {data[:8]!r}",
            expected="a PNG, JPEG, BMP, GIF, TIFF, WebP, JPEG 2000 or PPM picture",
            remedy="convert it to PNG, or copy it again if it should be a picture",
        ) from None
    # Each Pillow decoder fails in its own way: OSError, SyntaxError, ValueError, zlib.error ...
    except Exception as error:
        raise DataError(
            "A picture is damaged or cut short.",
            file=path,
            found=str(error) or type(error).__name__,
            expected="a whole picture",
            remedy="copy or download the file again",
        ) from None


def _refuse_what_is_no_single_picture(image: Image.Image, path: str | Path) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise _too_large(path, f"{image.width} x {image.height} pixels")
    frames = getattr(image, "n_frames", 1)
    # An MPO is a JPEG of a camera or phone with previews behind the picture itself.
    if frames > 1 and image.format != "MPO":
        raise DataError(
            f"A stimulus holds {frames} pictures, as an animation does; one is needed.",
            file=path,
            found=f"{image.format} with {frames} frames",
            expected="a single picture",
            remedy="convert it to a film (MP4), or save the frame that was shown as PNG",
        )


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(
            "A picture has numbers of 32 bits, whose black and white are not known.",
            file=path,
            found=f"{image.format} of mode {image.mode}",
            expected="8 or 16 bits per channel",
            remedy="save it as 8-bit PNG with the contrast that was shown",
        )
    if image.has_transparency_data:
        grey = Image.new("RGBA", image.size, (GREY, GREY, GREY, 255))
        image = Image.alpha_composite(grey, image.convert("RGBA"))
    return image.convert("RGB")


def _too_large(path: str | Path, found: object) -> DataError:
    return DataError(
        "A picture is too large to be a stimulus.",
        file=path,
        found=found,
        expected=f"at most {_MAX_PIXELS:,} pixels",
        remedy="save it at the resolution of the screen it was shown on",
    )
