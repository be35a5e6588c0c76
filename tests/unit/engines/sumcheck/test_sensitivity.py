"""What costs the precision is found value by value, and held on finer grids: front ends of speech models pass as others do."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.support.lowering_runs import SUITES, n, net
from tests.support.sumcheck_models import Array
from tests.unit.engines.sumcheck.test_tuning import spec, tune
from verifai.domain.fidelity import FidelityFloor, Task
from verifai.domain.progress import SILENT
from verifai.domain.record import Record
from verifai.domain.statement import WeightVisibility
from verifai.engines.fidelity import Measure, reference_measure
from verifai.engines.sumcheck import sensitivity
from verifai.engines.sumcheck.building import build_circuit, options_of, suite_of
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.scales import ORDERED, ColumnScale, QuantiserOptions, Scale, parse_options
from verifai.engines.sumcheck.sensitivity import Cost, blamed, chosen, costs, extra_bits, finer, finer_input, finer_results
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.engines.sumcheck.tuning import Tuned, Tuner
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import InputRejected, PolicyNotMet, UsageError
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.runtime import open_session

F = np.float32
WINDOW, BINS, FRAMES = 16, 5, 4


@cache
def speech() -> tuple[OnnxModel, tuple[dict[str, Array], ...]]:
    """A transform as a convolution, magnitudes, a rectified layer that lifts what is quiet, and a function that loud
    frames fill: sound whose loudness differs by thousands."""
    random = np.random.default_rng(3)
    angles = 2 * np.pi * np.outer(np.arange(BINS), np.arange(WINDOW)) / WINDOW
    basis = np.concatenate([np.cos(angles), np.sin(angles)])[:, None] * np.hanning(WINDOW)
    nodes = [
        n("Conv", "x", "basis", out="waves", strides=[WINDOW]),
        n("Slice", "waves", "zero", "bins", "one", out="real"),
        n("Slice", "waves", "bins", "ends", "one", out="imaginary"),
        n("Mul", "real", "real", out="p"), n("Mul", "imaginary", "imaginary", out="q"),
        n("Add", "p", "q", out="power"), n("Sqrt", "power", out="magnitude"),
        n("Conv", "magnitude", "lift", "bias", out="lifted"), n("Relu", "lifted", out="kept"),
        n("Conv", "kept", "turn", out="turned"), n("Tanh", "turned", out="heard"), n("Conv", "heard", "mix"),
    ]  # fmt: skip
    source = net(
        (1, 1, WINDOW * FRAMES), (1, 3, FRAMES), *nodes,
        basis=basis.astype(F), zero=[0], bins=[BINS], ends=[2 * BINS], one=[1],
        lift=random.uniform(20, 60, (6, BINS, 1)).astype(F), bias=np.full(6, -0.05, F),
        turn=random.standard_normal((6, 6, 1)).astype(F), mix=random.standard_normal((3, 6, 1)).astype(F),
    )  # fmt: skip
    # Few loud moments, many quiet ones.
    sizes = 10.0 ** random.choice([-4.0, -3.7, -3.4, -3.0, 0.0], 60, p=[0.3, 0.3, 0.2, 0.1, 0.1])
    feeds = tuple({"x": (random.uniform(-1, 1, (1, 1, WINDOW * FRAMES)) * size).astype(F)} for size in sizes)
    return source, feeds


@cache
def tuned() -> Tuned:
    source, feeds = speech()
    return tune(source, list(feeds), spec("regression"))


def operation(made: Lowered, name: str) -> ops.Op:
    return next(op for op in made.circuit.ops if any(made.circuit.tensors[tensor].name == name for tensor in ops.results(op)))


def test_default_settings_hold_a_spectrum_finely_enough() -> None:
    found = tuned()
    assert found.fidelity.judged_error is not None and found.fidelity.judged_error <= 0.01
    assert found.options.fine
    assert isinstance(operation(found.lowered, "waves"), ops.Rescale)
    assert isinstance(operation(found.lowered, "kept"), ops.Rescale)
    sound = found.lowered.circuit.tensors[found.lowered.circuit.inputs[0].tensor]
    assert 16 < (sound.high - sound.low).bit_length() <= 24
    halves = [name for name in ("real", "imaginary") if name in found.scales and name in found.lowered.scales]
    assert not halves, "halves of a transform on one wide grid are read as they are"


def test_without_finer_grids_the_refusal_names_what_costs_the_precision() -> None:
    source, feeds = speech()
    with pytest.raises(PolicyNotMet) as caught:
        tune(source, list(feeds), spec("regression", engine={"unrounded": False}))
    assert caught.value.code == "fidelity-below-floor" and "rounded" not in str(caught.value.hint)
    with pytest.raises(PolicyNotMet) as caught:
        tune(source, list(feeds), spec("regression", {"spread_error": 1e-9}))
    hint = str(caught.value.hint)
    assert "Most precision is lost where these are rounded: " in hint and "of the error allowed" in hint
    assert "waves" in hint or "'x'" in hint or "x (" in hint


@pytest.mark.parametrize("suite", SUITES)
def test_a_circuit_with_finer_grids_is_proven_in_both_suites(suite: str) -> None:
    source, feeds = speech()
    found = tuned()
    public = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
    made = build_circuit(source, public, WeightVisibility.PUBLIC, found.scales, found.options, SUITES[suite])
    key = prepare(made.circuit, made.weights)
    proven = prove(key, run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], feeds[0])))
    data = encode(made.circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    verify(trusted, trust_weights(trusted, key.identity, made.blob), proven.statement, proven.proof)


def test_what_leaves_a_finer_grid_is_refused_and_not_cut_off() -> None:
    """The last layer but one adds up what the first makes; a loud sound of one tone is far beyond what calibration saw."""
    source, scales = rectified(4)
    public = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
    wide = {
        **scales,
        "x": replace(scales["x"], low=-(1 << 26), high=1 << 26),
        "r": replace(scales["r"], low=-(1 << 17), high=(1 << 17) - 1),
    }
    made = build_circuit(source, public, WeightVisibility.PUBLIC, wide, QuantiserOptions(fine=True))
    run(made.circuit, made.weights, [np.full((1, 8), 1 << 16)])
    with pytest.raises(InputRejected) as caught:
        run(made.circuit, made.weights, [np.full((1, 8), 1 << 25)])
    assert caught.value.code == "input-out-of-range"


# The parts


def rectified(step_bits: int) -> tuple[OnnxModel, dict[str, Scale]]:
    source = net(
        (1, 8), (1, 8), n("MatMul", "x", "w", out="h"), n("Relu", "h", out="r"), n("MatMul", "r", "w"), w=np.eye(8, dtype=F)
    )
    grid = Scale(1 << 15, -15 - step_bits, -(1 << 24), (1 << 24) - 1)
    narrow = Scale(1 << 15, -15 - 6, -(1 << 14), (1 << 14) - 1)
    return source, {"x": Scale(1 << 15, -15 - step_bits, -(1 << 22), 1 << 22), "h": narrow, "r": grid, "y": narrow}


def test_a_wide_rectifier_is_exact_at_and_around_0() -> None:
    source, scales = rectified(20)
    public = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
    options = QuantiserOptions(fine=True)
    made = build_circuit(source, public, WeightVisibility.PUBLIC, scales, options)
    place = next(at for at, tensor in enumerate(made.circuit.tensors) if tensor.name == "r")
    cells = np.array([[0, 1, -1, 2, -2, 12345, -12345, 1 << 22]])
    trace = run(made.circuit, made.weights, [cells])
    assert trace.true(place).reshape(-1).tolist() == np.maximum(cells, 0).reshape(-1).tolist()


def test_only_what_matters_costs() -> None:
    """Small cells of one value decide; those of another are drowned by what is added to them."""
    nodes = [
        n("MatMul", "x", "w", out="small"),
        n("Mul", "small", "much", out="h"),
        n("Tanh", "h", out="t"),
        n("Add", "t", "x"),
    ]
    source = net((1, 4), (1, 4), *nodes, w=np.eye(4, dtype=F), much=F(1000))
    random = np.random.default_rng(0)
    feeds = [{"x": (random.uniform(-1, 1, (1, 4)) * 10.0 ** random.integers(-3, 1)).astype(F)} for _ in range(40)]
    grid = Scale(1 << 15, -15 - 10, -(1 << 12), 1 << 12)
    scales = {"small": grid, "t": grid, "y": grid}
    measured = reference_measure(Task.REGRESSION, source, feeds)
    found = costs(source, feeds, measured, FidelityFloor(spread_error=0.01), scales, ["small", "t", "y", "not there"])
    assert found[0].value == "small" and {one.value for one in found} == {"small", "t", "y"}
    shares = {one.value: one.share for one in found}
    assert shares["small"] > 20 * shares["t"] > 0
    assert shares["y"] == pytest.approx(shares["t"], rel=0.5)


def test_one_session_measures_all_values_and_a_deep_model_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured of many values: those whose steps are coarsest beside what they hold. A session each would load a model
    of a gigabyte a thousand times."""
    depth, most = 12, 4
    nodes = [n("Mul", "x" if at == 0 else f"v{at - 1}", "half", out=f"v{at}") for at in range(depth)]
    source = net((1, 4), (1, 4), *nodes, n("Mul", f"v{depth - 1}", "half"), half=F(0.5))
    feeds = [{"x": np.random.default_rng(at).normal(0, 1, (1, 4)).astype(F)} for at in range(6)]
    opened, ran = [], []

    class Counted:
        def __init__(self, model: bytes) -> None:
            opened.append(model)
            self._session = open_session(model)

        def run(self, outputs: list[str], inputs: dict[str, Array]) -> list[Array]:
            ran.append(outputs)
            return list(self._session.run(outputs, inputs))

    monkeypatch.setattr(sensitivity, "open_session", Counted)
    grid = Scale(1 << 15, -15 - 10, -(1 << 12), 1 << 12)
    scales = {f"v{at}": grid for at in range(depth)}
    measured = reference_measure(Task.REGRESSION, source, feeds)
    floor = FidelityFloor(spread_error=0.01)
    found = costs(source, feeds, measured, floor, scales, scales)
    assert len(found) == depth and len(opened) == 1 and len(ran) == depth * len(feeds) <= sensitivity.MOST_RUNS
    monkeypatch.setattr(sensitivity, "MOST_VALUES", most)
    few = costs(source, feeds, measured, floor, scales, scales)
    assert {one.value for one in few} == {f"v{at}" for at in range(depth - most, depth)}, "the smallest are rounded most"
    shares = {one.value: one.share for one in found}
    assert all(one.share == shares[one.value] for one in few)


def test_what_costs_no_cell_is_made_finer_before_anything_else() -> None:
    found = [Cost("sum", 9.0), Cost("function", 4.0), Cost("small function", 0.1), Cost("tiny function", 0.001)]
    able = {one.value for one in found}
    free = able - {"sum"}
    picked = [one.value for one in chosen(found, able, 0.7, free)]
    assert picked == ["function", "small function", "sum"]
    assert [one.value for one in chosen(found[1:], able, 0.7, free)] == ["function", "small function"]
    results = finer_results(Scale(40_000, -20, -30_000, 2_767), 5)
    assert results is not None and results.step * 32 == Scale(40_000, -20, 0, 1).step
    assert (results.low, results.high) == (-30_000 * 32, 2_768 * 32 - 1)
    assert finer_results(Scale(40_000, -20, 0, 1, zero_point=1), 5) is None


def test_each_input_is_rounded_as_its_circuit_takes_it() -> None:
    """Columns each to its own step, float32 numbers by their order not at all: by a common step of 1 both would be blamed."""
    source = net((1, 2), (1, 1), n("MatMul", "x", "w"), w=np.array([[1.0], [1.0]], F))
    feeds = [{"x": np.array([[at / 7, at / 4]], F)} for at in range(12)]
    measure = reference_measure(Task.REGRESSION, source, feeds)
    columns = (ColumnScale(-12, 0), ColumnScale(-2, 100))
    whole = Scale(1 << 15, -15, -(1 << 15), (1 << 15) - 1)

    def found(scale: Scale) -> list[Cost]:
        return costs(source, feeds, measure, FidelityFloor(spread_error=0.01), {"x": scale}, {"x"})

    assert found(whole)[0].share > 10
    assert found(replace(whole, columns=columns))[0].share < 0.1
    assert found(replace(whole, columns=(columns[0], ColumnScale(-2, 32766))))[0].share > 10  # cut off beyond 1/4
    assert found(ORDERED) == []


def test_the_few_that_cost_most_are_chosen() -> None:
    found = [Cost("a", 9.0), Cost("b", 4.0), Cost("c", 0.6), Cost("d", 0.01)]
    assert [one.value for one in chosen(found, {"a", "b", "c", "d"}, 0.7)] == ["a", "b"]
    assert [one.value for one in chosen(found, {"a", "b", "c", "d"}, 0.5)] == ["a", "b", "c"]
    assert [one.value for one in chosen(found, {"b", "d"}, 0.5)] == ["b"]
    assert chosen([Cost("d", 0.01)], {"d"}, 0.7) == []
    assert extra_bits(Cost("a", 9.0), 0.7, 1) == 5  # 9 / 2^5 ≤ 0.35
    assert extra_bits(Cost("a", 0.1), 0.7, 1) == 1


def test_finer_scales_keep_their_range() -> None:
    scale = Scale(40_000, -20, -30_000, 35_535)
    wide = finer(scale, 6)
    assert wide is not None and wide.step * 64 == scale.step
    assert wide.high * wide.step >= 3.6 * scale.high * scale.step
    shown = finer_input(scale, 6)
    assert shown is not None and shown.step * 64 == scale.step
    assert shown.low * shown.step == scale.low * scale.step and (shown.high + 1) * shown.step == (scale.high + 1) * scale.step
    most = finer_input(scale, 14)
    assert most is not None and (most.high - most.low).bit_length() == 24 and finer_input(most, 1) is None
    assert finer(replace(scale, zero_point=3), 6) is None and finer(replace(scale, ordered=True), 6) is None
    limited = finer(scale, 20, 29)
    assert limited is not None and limited.high < 1 << 29


def test_a_bound_is_about_what_its_value_is_computed_of() -> None:
    source, _ = speech()
    fine = {"waves", "magnitude", "kept", "x"}
    assert blamed(source, "magnitude", fine) == {"magnitude"}
    assert blamed(source, "kept.argument.z", fine) == {"kept"}
    assert blamed(source, "turned.z", fine) == {"kept"}
    assert blamed(source, "magnitude.squares", fine - {"magnitude"}) == {"waves"}
    assert blamed(source, "of nothing", fine) == fine


def test_what_a_finer_grid_does_not_allow_refuses_no_model() -> None:
    """A maximum is proven of 16 bits: the attempt is refused, and not the model, of which a coarser circuit was measured."""
    source = net((1, 6), (1, 1), n("MatMul", "x", "w", out="h"), n("ReduceMax", "h", "axes"), w=np.eye(6, dtype=F), axes=[1])
    feeds = [{"x": np.linspace(-1, 1, 6, dtype=F)[None] * at} for at in range(1, 9)]
    asked = spec("regression")
    tuner = Tuner(source, asked, feeds, options_of(asked), frozenset(), suite_of(asked), SILENT)
    coarse = tuner._try(15)
    assert coarse.fidelity is not None and coarse.refused is None
    wide = finer(coarse.scales["h"], 8)
    assert wide is not None
    tuner._fine = {"h": wide}
    refused = tuner._try(15).refused
    assert refused is not None and refused.code == "sumcheck-unsupported"


def test_samples_are_judged_by_the_spreads_of_all() -> None:
    wanted = [{"y": np.array([float(at)], F)} for at in range(5)]
    measured = Measure(Task.REGRESSION, wanted)
    spread, largest = measured.judged({"y": np.array([[1.5], [3.0]])}, [1, 3])
    assert largest == 0.5 and spread == pytest.approx(0.5 / np.std(range(5)), rel=0.02)


def test_locks_without_the_field_are_lowered_as_they_were() -> None:
    def options(table: dict[str, object], pinned: bool) -> QuantiserOptions:
        return parse_options(Record(table, "lock", error=UsageError, code="bad-lock"), pinned=pinned)

    assert not options({}, True).fine and "fine" not in options({}, True).to_document()
    fine = replace(QuantiserOptions(), fine=True)
    assert options(fine.to_document(), True) == fine
