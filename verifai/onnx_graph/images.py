"""PNG and JPEG files as model inputs; needs Pillow (the ``[images]`` extra)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, UsageError
from verifai.execution.packages import install_hint
from verifai.onnx_graph.tensors import Array

IMAGE_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

MAX_PIXELS = 1 << 24
"""Of a picture whose size nothing else gives."""
_AGAIN = "Write it again, as PNG."
_MODES = {1: "L", 3: "RGB"}
_WORDS = {"1": "black and white", "L": "grey", "P": "a palette", "RGB": "colour"}
_ORIENTATION = 0x0112
"""The EXIF tag (Exif 3.0, 4.6.5.1.6) that says how a camera was held: 1 is upright."""
_TURNS = {
    2: "mirrored", 3: "turned by 180°", 4: "flipped", 5: "transposed",
    6: "turned by 90°", 7: "transversed", 8: "turned by 270°",
}  # fmt: skip


def read_image(data: bytes, spec: TensorSpec, where: str) -> tuple[Array, tuple[str, ...]]:
    """One image as a float32 tensor of shape (1, C, H, W), C = 1 (grey) or 3 (RGB); pixel p becomes p / 255.

    The image must have the model's width and height, carry no transparency, be one picture, and have 8 bits per channel:
    resizing, blending and choosing are for the author of the data. What is changed is said: a camera's orientation, which
    viewers apply too, and a conversion to the model's channels.

    Returns:
        The tensor, and a sentence for each thing that was done to the pixels.

    Raises:
        InputRejected: ``input-shape``, ``input-dtype``, ``input-malformed``.
        UsageError: ``extra-missing``.
    """
    if len(spec.shape) != 4 or spec.shape[0] != 1 or spec.shape[1] not in _MODES or spec.dtype != "float32":
        raise InputRejected(
            "input-shape",
            f"the model takes {spec.dtype} of shape {spec.shape}, which is no image",
            where=where,
            hint="Images fit inputs of shape (1, 1, H, W) or (1, 3, H, W); give an .npz file instead.",
        )
    planes, notes = read_pixels(data, where, spec.shape[3:1:-1], spec.shape[1])
    return scaled(planes[np.newaxis]), (f"{where}: pixels were scaled from 0…255 to 0…1", *notes)


def scaled(pixels: Array) -> Array:
    """Pixels 0…255 as the float32 numbers 0…1 that models of pictures take."""
    return np.ascontiguousarray(pixels.astype(np.float32) / np.float32(255))


def read_pixels(
    data: bytes, where: str, size: tuple[int, ...] | None = None, channels: int | None = None
) -> tuple[Array, tuple[str, ...]]:
    """One image as uint8 pixels of shape (C, H, W), by the rules of :func:`read_image`.

    Args:
        size: the width and height that it must have; without one, up to :data:`MAX_PIXELS` pixels of any shape.
        channels: 1 (grey) or 3 (RGB); by default 1 for a grey picture, 3 for any other.

    Raises:
        InputRejected: ``input-shape``, ``input-dtype``, ``input-malformed``.
        UsageError: ``extra-missing``.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise UsageError(
            "extra-missing",
            "reading images needs Pillow",
            where=where,
            hint=f"{install_hint('images')}; or give an .npz file.",
        ) from None
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            # Checked on the header, before any pixel is decoded: a small file can declare a huge image.
            _check(image, size, orientation, where)
            channels = channels or (1 if image.mode in ("1", "L") else 3)
            notes = _changes(image, channels, orientation, where)
            upright = ImageOps.exif_transpose(image) if orientation in _TURNS else image
            pixels = np.asarray(upright.convert(_MODES[channels]), dtype=np.uint8)
    except InputRejected:
        raise
    except Exception as problem:  # noqa: BLE001 - decoders raise OSError, SyntaxError, struct.error, DecompressionBombError, …
        raise InputRejected(
            "input-malformed", f"not a readable image: {type(problem).__name__}", where=where, hint=_AGAIN
        ) from None
    planes = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
    return np.ascontiguousarray(planes), notes


def _check(image: Any, wanted: tuple[int, ...] | None, orientation: int, where: str) -> None:
    """Refuse, on the header, what has no exact meaning as the model's input."""
    size = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
    if wanted is None:
        if size[0] * size[1] > MAX_PIXELS:
            message = f"the image has {size[0]}×{size[1]} pixels; the limit is {MAX_PIXELS:,} in all"
            raise InputRejected("input-too-large", message, where=where, hint="Resize the pictures as the model takes them.")
        wanted = size
    if size != wanted:
        raise InputRejected(
            "input-shape",
            f"the image is {size[0]}×{size[1]}; the model takes {wanted[0]}×{wanted[1]}",
            where=where,
            hint="Resize it as the model's training data were resized.",
        )
    if image.mode not in _WORDS or "transparency" in image.info:
        raise InputRejected(
            "input-dtype",
            f"pixels of mode {image.mode} are not supported" if image.mode not in _WORDS else "the image is transparent",
            where=where,
            hint="Save it as 8-bit grey or RGB without transparency.",
        )
    if getattr(image, "n_frames", 1) != 1:
        raise InputRejected("input-dtype", "the file holds several pictures", where=where, hint="Save the one that you mean.")


def _changes(image: Any, channels: int, orientation: int, where: str) -> tuple[str, ...]:
    """What happens to the pixels, one sentence each."""
    notes = []
    if orientation in _TURNS:
        notes.append(f"{where}: the camera's orientation (EXIF) was applied: the picture was {_TURNS[orientation]}")
    target = _MODES[channels]
    if image.mode != target:
        by = " by luma (ITU-R 601-2)" if target == "L" and image.mode in ("RGB", "P") else ""
        notes.append(f"{where}: the picture is {_WORDS[image.mode]}; it was converted to {_WORDS[target]}{by}")
    if "icc_profile" in image.info:
        notes.append(f"{where}: the colour profile in the file was not applied")
    return tuple(notes)
