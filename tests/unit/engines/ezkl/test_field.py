"""Field elements and fixed point, bit for bit as ezkl has them."""

from __future__ import annotations

import math
import random
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifai.domain.statement import Role, TensorStatement, Visibility
from verifai.engines.ezkl import calls, columns, field, tensors
from verifai.engines.ezkl.calls import Fence, call
from verifai.engines.ezkl.srs import bn254, ceremony
from verifai.errors import InputRejected

elements = st.integers(0, field.MODULUS - 1)


@pytest.mark.parametrize(
    "text",
    ["", "0" * 63, "0" * 65, "0" * 63 + "A", "0" * 62 + "0x", "٠" * 64, 5, None, "f" * 64, " " + "0" * 63, "0" * 64 + "\n"],
)
def test_only_the_canonical_form_is_an_element(text: object) -> None:
    with pytest.raises(ValueError, match="field element"):
        field.decode(text)


def test_the_modulus_itself_is_no_element() -> None:
    with pytest.raises(ValueError, match="modulus"):
        field.decode(field.MODULUS.to_bytes(32, "little").hex())


@given(elements)
def test_encoding_and_decoding_are_inverse(value: int) -> None:
    assert field.decode(field.encode(value)) == value


@given(st.integers(-field.MAX_MAGNITUDE, field.MAX_MAGNITUDE))
def test_signed_integers_survive(value: int) -> None:
    assert field.decode_signed(field.encode(value)) == value


@pytest.mark.parametrize("value", [2**127, -(2**127) - 1, 2**200, field.MODULUS // 2])
def test_what_no_tensor_holds_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="128-bit"):
        field.decode_signed(field.encode(value))


@given(st.floats(-1e9, 1e9), st.integers(0, 24))
def test_quantisation_rounds_halves_away_from_zero(value: float, scale: int) -> None:
    exact = Fraction(value) * 2**scale
    expected = math.floor(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    assert columns.quantise_value(value, scale) == expected


def test_quantisation_is_ezkl_s_own_to_the_last_bit() -> None:
    rng = random.Random(2)
    edges = [0.0, -0.0, 0.5, -0.5, 1.5, -2.5, 0.49999999999999994, 4503599627370497.5, 1e-320, 5e-324, 2.0**60, -1e15]
    drawn = [rng.gauss(0, 10.0 ** rng.randint(-6, 6)) for _ in range(2000)]
    singles = [struct.unpack("f", struct.pack("f", value))[0] for value in drawn]
    for scale in (0, 1, 7, 13, 20):
        ties = [(step + 0.5) / 2**scale for step in range(-40, 40)]
        values = [value for value in (*edges, *ties, *drawn, *singles) if abs(value) * 2**scale < columns.MAX_QUANTISED]
        ran = calls.run([call("float_to_felt", values=values, scale=scale, kind="F64")], Fence())
        theirs = [field.decode_signed(text) for text in ran.values[0]]
        assert theirs == [columns.quantise_value(value, scale) for value in values]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, 2.0**63])
def test_what_is_not_finite_or_too_large_is_refused_by_name(value: float) -> None:
    with pytest.raises(InputRejected) as caught:
        tensors.quantise_cells("pixels", [0.0, value], 7)
    assert caught.value.code == "input-out-of-range"
    assert "pixels" in caught.value.where
    assert "cell 1" in caught.value.message


def _tensor(shape: tuple[int, ...], visibility: Visibility = Visibility.PRIVATE) -> TensorStatement:
    digest = "0" * 64 if visibility is Visibility.HASHED else None
    return TensorStatement(Role.INPUT, "x", shape, visibility, Fraction(1, 128), digest=digest, digest_scheme=digest and "s")


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(InputRejected) as caught:
        tensors.quantise(_tensor((1, 4)), np.zeros(4, np.float32))
    assert caught.value.code == "input-shape"


@pytest.mark.parametrize("array", [np.array(["1"]), np.array([1j]), np.array([object()])])
def test_what_are_no_numbers_is_refused(array: np.ndarray) -> None:
    with pytest.raises(InputRejected) as caught:
        tensors.quantise(_tensor((1,)), array)
    assert caught.value.code == "input-dtype"


def test_an_integer_that_a_double_cannot_hold_is_refused() -> None:
    tensor = TensorStatement(Role.INPUT, "x", (1,), Visibility.PRIVATE, Fraction(1))
    assert tensors.quantise(tensor, np.array([2**53])) == (2**53,)
    with pytest.raises(InputRejected) as caught:
        tensors.quantise(tensor, np.array([2**53 + 1]))
    assert caught.value.code == "input-out-of-range"


def test_double_precision_means_what_the_model_would_have_been_given() -> None:
    value = 0.1 + 2**-40
    single = np.array([value], np.float32)
    assert tensors.quantise(_tensor((1,)), np.array([value])) == tensors.quantise(_tensor((1,)), single)


def test_a_scale_that_is_no_power_of_two_is_not_ours() -> None:
    odd = TensorStatement(Role.INPUT, "x", (1,), Visibility.PRIVATE, Fraction(1, 100))
    with pytest.raises(InputRejected):
        tensors.quantise(odd, np.zeros(1, np.float32))


@pytest.mark.parametrize("log2", [-3, 0, 1, 7, 20])
def test_a_scale_survives_the_statement(log2: int) -> None:
    tensor = TensorStatement(Role.INPUT, "x", (1,), Visibility.PRIVATE, field.scale_fraction(log2))
    assert tensors.log2_multiplier(tensor) == log2


def test_the_digest_depends_on_every_cell_and_their_order() -> None:
    tensor = _tensor((3,), Visibility.HASHED)
    arrays = ([1.0, 2.0, 3.0], [1.0, 2.0, 3.5], [2.0, 1.0, 3.0], [0.0, 0.0, 0.0])
    digests = {tensors.digest(tensor, np.array(values, np.float32)) for values in arrays}
    assert len(digests) == len(arrays)
    assert all(field.encode(field.decode(digest)) == digest for digest in digests)


def test_the_generators_are_on_the_curve_and_in_the_group() -> None:
    assert bn254.on_g1(bn254.G1_GENERATOR)
    assert not bn254.on_g1((1, 3))
    assert bn254.in_g2(bn254.G2_GENERATOR)
    assert bn254.g1_multiply(bn254.G1_GENERATOR, bn254.ORDER) is None
    (x, (y0, y1)) = bn254.G2_GENERATOR
    assert not bn254.in_g2((x, (y0, y1 + 1)))


@given(st.integers(1, 2**64), st.integers(1, 2**64))
def test_the_group_law_is_a_group_law(a: int, b: int) -> None:
    g = bn254.G1_GENERATOR
    left = bn254.g1_add(bn254.g1_multiply(g, a), bn254.g1_multiply(g, b))
    assert left == bn254.g1_multiply(g, a + b)
    assert left is not None
    assert bn254.on_g1(left)


def test_a_point_of_the_twist_outside_the_group_is_refused() -> None:
    # The twist has a cofactor, so being on the curve is not enough. This point was found by trying x = 1, 2, …
    point = _some_point_of_the_twist()
    assert not bn254.in_g2(point)


def _some_point_of_the_twist() -> bn254.G2:
    p = bn254.PRIME
    twist_b = bn254._mul((3, 0), bn254._inverse((9, 1)))
    for x0 in range(1, 100):
        x = (x0, 0)
        square = bn254._add(bn254._mul(bn254._mul(x, x), x), twist_b)
        root = _square_root(square, p)
        if root is not None:
            return (x, root)
    raise AssertionError("no point found")


def _square_root(a: bn254.Fp2, p: int) -> bn254.Fp2 | None:
    """In F_p², by the norm; p ≡ 3 mod 4."""
    norm = pow(a[0] * a[0] + a[1] * a[1], (p + 1) // 4, p)
    for sign in (1, -1):
        half = (a[0] + sign * norm) * pow(2, -1, p) % p
        real = pow(half, (p + 1) // 4, p)
        if real and real * real % p == half:
            root = (real, a[1] * pow(2 * real, -1, p) % p)
            if bn254._mul(root, root) == a:
                return root
    return None


def test_the_ceremony_s_point_is_in_the_group_and_every_size_has_a_digest() -> None:
    assert bn254.in_g2(ceremony.S_G2)
    assert sorted(ceremony.SHA256) == list(range(1, 27))
    assert len(set(ceremony.SHA256.values())) == 26


def test_the_pinned_digests_are_those_inside_the_installed_ezkl() -> None:
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("ezkl")
    assert spec is not None
    assert spec.origin is not None
    library = next(Path(spec.origin).parent.glob("ezkl*.so")).read_bytes()
    assert "".join(ceremony.SHA256[k] for k in range(1, 27)).encode() in library
