"""The child process that loads ezkl, and that cuts SRS files. Run by :mod:`verifai.engines.ezkl.calls` only; never imported by
the parent.

Every path in the arguments is absolute or relative to the private working directory.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Args = Mapping[str, Any]


SETTINGS_TRIES = 64
"""ezkl lays some circuits out in one of several ways, at random: ``num_rows`` comes out one higher or lower. Pinned settings
are looked for among so many layouts, which cost milliseconds each."""


def _load(args: Args) -> None:
    """A step of its own, so that an installation that is missing or broken is never taken for a refusal."""
    import ezkl

    if not callable(getattr(ezkl, "verify", None)):  # an empty folder of that name imports as well
        raise ImportError("the package 'ezkl' has no function 'verify'")


def _gen_settings(args: Args) -> None:
    import ezkl

    from verifai.domain.digest import sha256
    from verifai.engines.ezkl.settings import normalise

    run_args = ezkl.PyRunArgs()
    for name, value in args["run_args"].items():
        setattr(run_args, name, tuple(value) if name == "lookup_range" else value)
    path = Path(args["output"])
    for _ in range(SETTINGS_TRIES):
        _true(ezkl.gen_settings(args["model"], args["output"], py_run_args=run_args))
        # Before anything is derived from it: the order of its range checks changes the verification key.
        path.write_bytes(normalise(path.read_bytes()))
        if args.get("wanted") in (None, sha256(path.read_bytes())):
            return


def _calibrate_settings(args: Args) -> None:
    import ezkl

    from verifai.engines.ezkl.settings import normalise

    _true(_awaited(lambda: ezkl.calibrate_settings(args["data"], args["model"], args["settings"], **args["options"])))
    path = Path(args["settings"])
    path.write_bytes(normalise(path.read_bytes()))


def _compile_circuit(args: Args) -> None:
    import ezkl

    _true(ezkl.compile_circuit(args["model"], args["output"], args["settings"]))


def _setup(args: Args) -> None:
    import ezkl

    _true(
        ezkl.setup(args["circuit"], args["vk"], args["pk"], args["srs"], witness_path=None, disable_selector_compression=False)
    )


def _gen_witness(args: Args) -> Any:
    import ezkl

    witness = ezkl.gen_witness(args["data"], args["circuit"], args["output"], vk_path=None, srs_path=None)
    keep = ("inputs", "outputs", "processed_inputs", "processed_outputs", "max_lookup_inputs", "min_lookup_inputs")
    return {name: witness.get(name) for name in (*keep, "max_range_size")}


def _forward(args: Args) -> list[Any]:
    """Witness of many samples, without keeping them."""
    results = []
    for sample in args["samples"]:
        Path("forward.json").write_text(json.dumps({"input_data": sample}), encoding="utf-8")
        results.append(_gen_witness({"data": "forward.json", "circuit": args["circuit"], "output": "forward-witness.json"}))
    return results


def _mock(args: Args) -> None:
    import ezkl

    _true(ezkl.mock(args["witness"], args["circuit"]))


def _prove(args: Args) -> None:
    import ezkl

    ezkl.prove(args["witness"], args["circuit"], args["pk"], args["output"], args["srs"])


def _verify(args: Args) -> bool:
    import ezkl

    return ezkl.verify(args["proof"], args["settings"], args["vk"], args["srs"], reduced_srs=False) is True


def _poseidon_hash(args: Args) -> list[str]:
    import ezkl

    return list(ezkl.poseidon_hash(args["message"]))


def _float_to_felt(args: Args) -> list[str]:
    import ezkl

    return [ezkl.float_to_felt(value, args["scale"], getattr(ezkl.PyInputType, args["kind"])) for value in args["values"]]


def _gen_srs(args: Args) -> None:
    import ezkl

    ezkl.gen_srs(args["output"], args["logrows"])


def _get_srs(args: Args) -> None:
    import ezkl

    _true(_awaited(lambda: ezkl.get_srs(None, args["logrows"], args["output"])))


def _cut_srs(args: Args) -> None:
    from verifai.engines.ezkl.srs.cut import write_cut

    write_cut(Path(args["source"]), args["logrows"], Path(args["output"]))


def _is_srs_cut(args: Args) -> bool:
    from verifai.engines.ezkl.srs.cut import is_cut

    return is_cut(Path(args["candidate"]), Path(args["source"]))


def _create_evm_verifier(args: Args) -> None:
    import ezkl

    try:
        _awaited(
            lambda: ezkl.create_evm_verifier(
                args["vk"], args["settings"], args["solidity"], args["abi"], args["srs"], reusable=False
            )
        )
    except RuntimeError:
        # It writes the Solidity first, and then wants to download a compiler for the ABI, which it does not get here.
        if not Path(args["solidity"]).is_file():
            raise


def _awaited(call: Any) -> Any:
    """Some bindings return a future and need a running event loop; which ones differs between releases."""

    async def run() -> Any:
        value = call()
        return await value if inspect.isawaitable(value) else value

    return asyncio.run(run())


def _true(result: object) -> None:
    if result is not True:
        raise RuntimeError(f"ezkl returned {result!r}")


HANDLERS = {
    "load": _load,
    "gen_settings": _gen_settings,
    "calibrate_settings": _calibrate_settings,
    "compile_circuit": _compile_circuit,
    "setup": _setup,
    "gen_witness": _gen_witness,
    "forward": _forward,
    "mock": _mock,
    "prove": _prove,
    "verify": _verify,
    "poseidon_hash": _poseidon_hash,
    "float_to_felt": _float_to_felt,
    "gen_srs": _gen_srs,
    "get_srs": _get_srs,
    "cut_srs": _cut_srs,
    "is_srs_cut": _is_srs_cut,
    "create_evm_verifier": _create_evm_verifier,
}

if __name__ == "__main__":
    from verifai.execution.child_entry import serve

    sys.exit(serve(HANDLERS))
