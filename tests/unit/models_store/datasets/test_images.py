"""An image is decoded whole, by one of three codecs, within its size; everything else is refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from models_store.datasets.images import decode, fit
from models_store.errors import MalformedDataset
from models_store.input_spec import InputSpec, Resize
from tests.unit.models_store.crafting import picture, plain_zip


def spec(height: int, width: int, channels: int, resize: Resize = "none", crop_ratio: float = 1.0) -> InputSpec:
    return InputSpec(
        height=height,
        width=width,
        channels=1 if channels == 1 else 3,
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        resize=resize,
        crop_ratio=crop_ratio,
    )


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def png_of(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_the_three_formats_are_read(form: str) -> None:
    image = decode(picture(4, 5, form=form), "a", 100)
    assert image.size == (5, 4)


def test_lossless_pixels_come_out_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    for content in (saved(Image.fromarray(pixels), "PNG"), saved(Image.fromarray(pixels), "WEBP", lossless=True)):
        assert np.array_equal(fit(decode(content, "a", 100), spec(6, 4, 3), "a"), pixels)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "a PNG, JPEG or WebP image"),
    "text": (b"hello", "a PNG, JPEG or WebP image"),
    "a GIF": (saved(NOISE, "GIF"), "a PNG, JPEG or WebP image"),
    "a TIFF": (saved(NOISE, "TIFF"), "a PNG, JPEG or WebP image"),
    "a BMP": (saved(NOISE, "BMP"), "a PNG, JPEG or WebP image"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PNG, JPEG or WebP image"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a PNG, JPEG or WebP image"),
    "a nested archive": (plain_zip({"train/cat/1.png": picture()}), "a PNG, JPEG or WebP image"),
    "a truncated PNG": (picture(64, 64)[:-200], "a whole image"),
    "a truncated JPEG": (picture(64, 64, form="JPEG")[:-200], "a whole image"),
    "a truncated WebP": (picture(64, 64, form="WEBP")[:-200], "image"),
    "a PNG without pixels": (png_of(8, 8), "a whole image"),
    "a PNG of no width": (png_of(0, 8), "image|pixels"),
    "a bomb by its header": (png_of(30_000, 30_000), "at most 10,000 pixels"),
    "a bomb beyond Pillow's error": (png_of(60_000, 60_000), "at most 10,000 pixels"),
    "a picture just too large": (picture(101, 100), "at most 10,000 pixels"),
    "16 bits": (saved(Image.fromarray(np.zeros((4, 4), dtype=np.uint16)), "PNG"), "8 bits per channel"),
    "an animation": (saved(NOISE, "WEBP", save_all=True, append_images=[NOISE.rotate(90)]), "a still image"),
    "an animated PNG": (saved(NOISE, "PNG", save_all=True, append_images=[NOISE.rotate(90)]), "a still image"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_anything_else_is_refused_naming_the_member(case: str) -> None:
    content, sentence = BROKEN[case]
    with pytest.raises(MalformedDataset, match=sentence) as refused:
        decode(content, "train/cat/1.png", 10_000)
    assert "'train/cat/1.png'" in str(refused.value)
    assert refused.value.extensions["member"] == "train/cat/1.png"


def test_nothing_truncated_is_repaired() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_become_those_of_the_spec(mode: str, channels: int) -> None:
    image = decode(saved(NOISE.convert(mode), "PNG"), "a", 100)
    assert fit(image, spec(8, 8, channels), "a").shape == (8, 8, channels)


def test_a_palette_with_transparency_warns_nobody() -> None:
    image = decode(saved(NOISE.convert("P"), "PNG", transparency=bytes([0, 128])), "a", 100)
    assert fit(image, spec(8, 8, 3), "a").shape == (8, 8, 3)


def test_another_size_is_refused_unless_the_spec_resizes() -> None:
    with pytest.raises(MalformedDataset, match=r"Expected 9 x 8 pixels in 'a', got 8 x 8"):
        fit(NOISE, spec(8, 9, 3), "a")


def test_a_crop_keeps_the_centre_and_the_aspect() -> None:
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 200
    image = Image.fromarray(pixels)
    assert (fit(image, spec(4, 4, 3, "crop"), "a") == 200).all()
    stretched = fit(image, spec(4, 4, 3, "stretch"), "a")
    assert stretched[0, 0, 0] < 50 < stretched[0, 2, 0]


def test_a_crop_ratio_is_scale_then_centre_crop() -> None:
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :], 256, axis=0)
    cropped = fit(Image.fromarray(ramp), spec(224, 224, 1, "crop", 0.875), "a")
    assert np.array_equal(cropped[:, :, 0], ramp[16:240, 16:240])
