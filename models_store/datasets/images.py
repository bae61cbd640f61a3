"""One image file to pixels, and pixels to the input of a model.

Three codecs only, the size asked before a pixel is decoded, and nothing repaired: a truncated file is a broken file.
"""

import io
import struct
import warnings
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models_store.errors import MalformedDataset
from models_store.input_spec import InputSpec

FORMATS = ("PNG", "JPEG", "WEBP")
Pixels = NDArray[np.uint8]

_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for damage, depending on the codec and the place."""


def decode(content: bytes, member: str, max_pixels: int) -> Image.Image:
    """Decode an image file completely. The orientation tag of cameras is not applied, as in usual training pipelines.

    Raises:
        MalformedDataset: it is no still PNG, JPEG or WebP image of 8 bits per channel, or too large, or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_head(image, member, max_pixels)
            image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MalformedDataset(_sentence(member, f"at most {max_pixels:,} pixels", "more"), member=member) from error
    except UnidentifiedImageError as error:
        raise MalformedDataset(
            _sentence(member, "a PNG, JPEG or WebP image", f"a file that starts with {content[:8]!r}"), member=member
        ) from error
    except _BROKEN as error:
        raise MalformedDataset(
            _sentence(member, "a whole image", f"a damaged one ({type(error).__name__})"), member=member
        ) from error
    return image


def _check_head(image: Image.Image, member: str, max_pixels: int) -> None:
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        raise MalformedDataset(
            _sentence(member, f"at most {max_pixels:,} pixels", f"{width} x {height}"), member=member
        )
    if image.mode not in _EIGHT_BIT_MODES:
        raise MalformedDataset(_sentence(member, "8 bits per channel", f"pixels of mode {image.mode}"), member=member)
    frames = getattr(image, "n_frames", 1)
    if frames != 1 and image.format != "MPO":
        raise MalformedDataset(_sentence(member, "a still image", f"one of {frames} frames"), member=member)


def fit(image: Image.Image, spec: InputSpec, member: str) -> Pixels:
    """Bring an image to the channels and the size of the input spec.

    Returns:
        uint8 of shape (height, width, channels).

    Raises:
        MalformedDataset: the size differs and the spec does not resize.
    """
    mode = "L" if spec.channels == 1 else "RGB"
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (spec.width, spec.height):
        image = _resized(image, spec, member)
    return np.asarray(image, dtype=np.uint8).reshape(spec.height, spec.width, spec.channels)


def _resized(image: Image.Image, spec: InputSpec, member: str) -> Image.Image:
    target = (spec.width, spec.height)
    width, height = image.size
    if spec.resize == "none":
        got = f"{width} x {height} (the input spec says resize 'none')"
        raise MalformedDataset(_sentence(member, f"{spec.width} x {spec.height} pixels", got), member=member)
    if spec.resize == "stretch":
        return image.resize(target, Image.Resampling.BILINEAR)
    # The largest centred box of the target's aspect, shrunk by the crop ratio; one resampling instead of two.
    scale = min(width / spec.width, height / spec.height) * spec.crop_ratio
    left, upper = (width - spec.width * scale) / 2, (height - spec.height * scale) / 2
    box = (max(0.0, left), max(0.0, upper), min(float(width), width - left), min(float(height), height - upper))
    return image.resize(target, Image.Resampling.BILINEAR, box=box)


def _sentence(member: str, expected: str, got: str) -> str:
    return f"Expected {expected} in {member!r}, got {got}."
