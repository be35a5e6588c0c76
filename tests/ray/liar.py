"""Written into a folder that one node of a test's cluster finds before verifai: that node's workers lie, each in its way."""

from __future__ import annotations

from pathlib import Path

START = """
import importlib.metadata, os, pathlib, sys

class Finder:
    # Finds the lying module in the place of verifai's own; Ray puts the driver's folders before all others.

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "verifai.stages.batch.worker":
            import importlib.util
            return importlib.util.spec_from_file_location(name, pathlib.Path(__file__).with_name("lying_worker.py"))

if os.environ.get("VERIFAI_TEST_RELEASE"):
    importlib.metadata.version = lambda name: os.environ["VERIFAI_TEST_RELEASE"]
elif os.environ.get("VERIFAI_TEST_LIE"):
    sys.meta_path.insert(0, Finder)
"""
"""Python runs this when it starts."""
WORKER = """
import importlib.util, os, pathlib, sys, time
import verifai.stages.batch

def genuine():
    for folder in verifai.stages.batch.__path__:
        path = pathlib.Path(folder) / "worker.py"
        if path.resolve() != pathlib.Path(__file__).resolve() and path.exists():
            spec = importlib.util.spec_from_file_location("genuine_worker", path)
            module = importlib.util.module_from_spec(spec)
            sys.modules["genuine_worker"] = module
            spec.loader.exec_module(module)
            return module

WORKER, LIE = genuine(), os.environ["VERIFAI_TEST_LIE"]

class Bomb:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path(os.environ["VERIFAI_TEST_BOMB"]),))

def prove_away(key, fetch, data):
    import ray
    pathlib.Path(os.environ["VERIFAI_TEST_BOMB"] + ".lied").touch()
    if LIE == "object":
        context = ray._private.worker.global_worker.get_serialization_context()
        serialize = context.serialize
        context.serialize = lambda value: serialize(Bomb())
        return b""
    if LIE == "exception":
        class Told(ray.exceptions.RayError, KeyboardInterrupt):
            def __reduce__(self):
                return Bomb().__reduce__()
        raise Told()
    if LIE == "full disk":
        import tempfile
        tempfile.tempdir = "/proc/self/nowhere"
    answer = WORKER.prove_away(key, fetch, data)
    if LIE == "giant":
        return answer + bytes(160 * 2**20)
    if LIE == "wrong":
        return answer[:-1] + bytes([answer[-1] ^ 1])
    if LIE == "another's name":
        mine = ray.get_runtime_context().get_node_id()
        other = next(n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] != mine and n["Resources"].get("CPU"))
        context = ray.get_runtime_context()
        type(context).get_node_id = lambda self: other
        return answer[:-1] + bytes([answer[-1] ^ 1])
    if LIE == "slow":
        pathlib.Path(os.environ["VERIFAI_TEST_BOMB"] + f".slow-{time.time_ns()}").touch()
        time.sleep(3600)
    if LIE == "dies":
        os._exit(1)
    return answer
"""


def write_liar(folder: Path) -> Path:
    """A folder for PYTHONPATH, in which the worker's module is exchanged; everything else stays verifai's own."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(START)
    (folder / "lying_worker.py").write_text(WORKER)
    return folder
