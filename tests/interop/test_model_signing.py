"""The tool of OpenSSF Model Signing signs, this program reads; and the other way: it accepts what our tests sign by hand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.docs.test_provenance_page import run_page, sign_with_the_tool
from tests.support.releases import TestAuthority, name_of, public_pem, sign_folder, signing_key, trusted_key
from verifai.errors import EvidenceRejected, VerifaiError
from verifai.provenance.release_files import stage_release
from verifai.provenance.verify import verify_release

pytestmark = pytest.mark.interop
KEY = signing_key(1)


def tool(*arguments: str, folder: Path, good: bool = True) -> str:
    """Run ``model_signing``."""
    program = Path(sys.executable).parent / "model_signing"
    done = subprocess.run([str(program), *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert (done.returncode == 0) is good, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "release" / "sub").mkdir(parents=True)
    (tmp_path / "release" / "model.onnx").write_bytes(b"weights" * 1000)
    (tmp_path / "release" / "sub" / "words.txt").write_bytes(b"words")
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "key.pub").write_text(public_pem(KEY))
    return tmp_path


def staged(folder: Path, *entries: object) -> set[str]:
    """What this program reads of a signed folder."""
    signature = folder / "release" / "model.sig"
    release = verify_release(signature.read_bytes(), list(entries), datetime.now(UTC))  # type: ignore[arg-type]
    into = folder / f"staged-{len(list(folder.iterdir()))}"
    into.mkdir()
    return set(stage_release(folder / "release", release.manifest, into, beside=(signature,)).sha256)


@pytest.mark.parametrize("options", [[], ["--allow_symlinks"]], ids=["files", "links followed"])
def test_a_key_of_the_tool(folder: Path, options: list[str]) -> None:
    tool("sign", "key", "release", "--private_key", "key.pem", "--signature", "release/model.sig", *options, folder=folder)
    assert staged(folder, trusted_key(KEY)) == {"model.onnx", "sub/words.txt"}
    with pytest.raises(VerifaiError):
        staged(folder, trusted_key(signing_key(2)))
    (folder / "release" / "model.onnx").write_bytes(b"hollow")
    with pytest.raises(EvidenceRejected):
        staged(folder, trusted_key(KEY))


def test_one_file(folder: Path) -> None:
    tool("sign", "key", "release/model.onnx", "--private_key", "key.pem", "--signature", "one.sig", folder=folder)
    release = verify_release((folder / "one.sig").read_bytes(), [trusted_key(KEY)], datetime.now(UTC))
    (folder / "staged").mkdir()
    copied = stage_release(folder / "release" / "model.onnx", release.manifest, folder / "staged")
    assert copied.path(".").read_bytes() == b"weights" * 1000


def test_a_certificate_of_the_tool(folder: Path) -> None:
    authority = TestAuthority()
    leaf = authority.issue(KEY, name_of("Acme release"), identity="release@acme.example")
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "root.pem").write_text(authority.pem)
    tool(
        "sign", "certificate", "release", "--private_key", "key.pem", "--signing_certificate", "leaf.pem",
        "--certificate_chain", "root.pem", "--signature", "release/model.sig", folder=folder,
    )  # fmt: skip
    at = datetime(2026, 6, 15, tzinfo=UTC)
    data = (folder / "release" / "model.sig").read_bytes()
    assert verify_release(data, [authority.entry()], at).names == ("acme",)
    with pytest.raises(VerifaiError):
        verify_release(data, [authority.entry(identity="mallory@acme.example")], at)


def test_the_tool_accepts_what_the_tests_sign_by_hand(folder: Path) -> None:
    """So the cases that are false in one part only are false for that part."""
    sign_folder(folder / "release", KEY)
    arguments = ["verify", "key", "release", "--signature", "release/model.sig", "--public_key", "key.pub"]
    tool(*arguments, folder=folder)
    shutil.copy(folder / "release" / "model.onnx", folder / "release" / "more.onnx")
    tool(*arguments, folder=folder, good=False)
    with pytest.raises(EvidenceRejected):
        staged(folder, trusted_key(KEY))


def test_the_worked_example_with_the_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    seen = run_page(tmp_path, sign_with_the_tool, capsys)
    assert [status for verb, status in seen if verb == "gate"] == [0, 3]


def test_a_bundle_of_sigstore_that_nobody_logged_is_refused(folder: Path) -> None:
    """The child loads Sigstore's library with its pinned root, offline, and says no."""
    import base64
    import json

    from tests.support.releases import resources, signature_document, statement
    from verifai.domain.model_signing import SignerKind, TrustedModelSigner

    document = signature_document(statement(resources(folder / "release")), KEY)
    leaf = TestAuthority().issue(KEY, name_of("x"), identity="release@acme.example")
    certificate = {"rawBytes": base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()}
    document["verificationMaterial"] = {"certificate": certificate, "tlogEntries": []}
    entry = TrustedModelSigner("acme", SignerKind.SIGSTORE, identity="release@acme.example", issuer="https://issuer.example")
    with pytest.raises(VerifaiError) as caught:
        verify_release(json.dumps(document).encode(), [entry], datetime.now(UTC))
    assert caught.value.code in ("model-signature-malformed", "model-signer-not-trusted"), caught.value
