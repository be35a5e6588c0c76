"""The root that binds a hashed tensor, computed from its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.ordered_floats import LIMBS
from verifai.domain.statement import Encoding, TensorStatement
from verifai.engines.sumcheck.payload.statement import HIDING_SCHEME
from verifai.engines.sumcheck.tensors import filled, limbs_of, quantise
from verifai.errors import InputRejected


def root_of(shape: tuple[int, ...], cells: Sequence[int]) -> bytes:
    """The root that binds a hashed tensor of ``shape`` with centred ``cells``, row-major."""
    from verifai.engines.sumcheck.interpreter.run import pad
    from verifai.engines.sumcheck.planning.plan import hashed_commitment
    from verifai.engines.sumcheck.prover.arrays import to_field
    from verifai.engines.sumcheck.prover.commitment import commit

    padded = pad(np.array(cells, np.int64).reshape(shape or (1,)), 0)
    log_cells = padded.size.bit_length() - 1
    plan = hashed_commitment("tensor", 0, log_cells)
    return commit(plan, {("tensor", 0, 0): to_field(padded.reshape(-1))}).root


def digest(tensor: TensorStatement, values: NDArray[Any]) -> str:
    """The root, in hex, that binds ``values`` under the hashed ``tensor``'s scale. Raises InputRejected."""
    if tensor.digest_scheme == HIDING_SCHEME:
        raise InputRejected(
            "tensor-secret-needed",
            "the tensor is bound by a hiding commitment, whose root only its secret seed makes again",
            where=tensor.name,
            hint="Ask the holder of the seed, make the tensor public, or bind it by the integrity-only suite.",
        )
    cells = np.array([q - tensor.zero_point for q in quantise(tensor, values)], np.int64)
    shape = tensor.shape
    if tensor.encoding is Encoding.FLOAT32:
        cells, shape = limbs_of(cells), (*(shape or (1,)), LIMBS)
    if tensor.batch:
        cells, shape = filled(cells.reshape(shape), tensor.batch), (tensor.batch, *shape[1:])
    return root_of(shape, cells.reshape(-1).tolist()).hex()
