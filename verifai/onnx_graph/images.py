"""PNG and JPEG files as model inputs; needs Pillow (the ``[images]`` extra)."""

from __future__ import annotations

import io

import numpy as np

from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, UsageError
from verifai.execution.packages import install_hint
from verifai.onnx_graph.tensors import Array

IMAGE_MAGICS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")

_MODES = {1: "L", 3: "RGB"}


def read_image(data: bytes, spec: TensorSpec, where: str) -> Array:
    """One image as a float32 tensor of shape (1, C, H, W), C = 1 (grey) or 3 (RGB); pixel p becomes p / 255.

    The image must have the model's width and height and carry no transparency: resizing and blending are
    choices for the author of the data.

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
    try:
        from PIL import Image
    except ImportError:
        raise UsageError(
            "extra-missing",
            "reading images needs Pillow",
            where=where,
            hint=f"{install_hint('images')}; or give an .npz file.",
        ) from None
    _, channels, height, width = spec.shape
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            # Checked on the header, before any pixel is decoded: a small file can declare a huge image.
            if image.size != (width, height):
                raise InputRejected(
                    "input-shape",
                    f"the image is {image.size[0]}×{image.size[1]}; the model takes {width}×{height}",
                    where=where,
                )
            if image.mode not in ("1", "L", "RGB", "P") or "transparency" in image.info:
                raise InputRejected("input-dtype", f"pixels of mode {image.mode} are not supported", where=where)
            pixels = np.asarray(image.convert(_MODES[channels]), dtype=np.uint8)
    except InputRejected:
        raise
    except Exception as problem:  # noqa: BLE001 - decoders raise OSError, SyntaxError, struct.error, DecompressionBombError, …
        raise InputRejected("input-malformed", f"not a readable image: {type(problem).__name__}", where=where) from None
    planes = pixels.reshape(height, width, channels).transpose(2, 0, 1)
    return np.ascontiguousarray(planes[np.newaxis].astype(np.float32) / np.float32(255))
