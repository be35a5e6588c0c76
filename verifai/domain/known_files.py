"""What any file that this program writes is, told from its first bytes: for people who find one. No verdict rests on it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from verifai.domain.our_files import kept_file


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A kind of file.

    Attributes:
        what: a noun with its article. advice: what to do with it, in a sentence.
    """

    what: str
    advice: str


_SECRET = "It must stay with its owner: show it to nobody, and make no second copy."  # noqa: S105 - a sentence
_SCHEMAS = {
    "audit": KnownFile("the JSON report of an audit", "For programs; the HTML report is for people."),
    "batch-inputs": KnownFile("the inputs of a batch", _SECRET),
    "data-lock": KnownFile("a data.lock", "It pins a data set: name it in a policy, or evaluate with `verifai evaluate`."),
    "ezkl-proof": KnownFile("a proof", "It is checked with its bundle: `verifai verify`."),
    "ezkl-build": KnownFile("the list of files of a build", "`verifai compile` writes it again."),
    "log-consistency": KnownFile("a proof that a log only grew", "`verifai log cosign` asks for it."),
    "model-facts": KnownFile("the facts of a model", "It lies beside a model.onnx, and is read with it."),
    "policy": KnownFile("a policy", "`verifai gate --explain --policy FILE` says in words what it asks."),
    "prove-index": KnownFile("the index of a batch", "It says which sample each bundle is of."),
    "receipt": KnownFile("a receipt of a machine", "`verifai tee` reads it."),
    "recorded-runs": KnownFile("recorded runs of a model", "Give it to `verifai calibrate`."),
    "tensor-secrets": KnownFile("a file of seeds", _SECRET),
    "tokenizer": KnownFile("a pinned tokenizer", "It lies beside the lock that pins it."),
    "vote-secret": KnownFile("the secret of a vote", _SECRET),
    "weights-secret": KnownFile("the secret of a weight commitment", _SECRET),
}
_BINARY: tuple[tuple[bytes, KnownFile], ...] = (
    (
        b"SQLite format 3\x00",
        KnownFile("an audit log, or another SQLite database", "`verifai log check FILE` computes it again."),
    ),
    (b"verifai/circuit/1", KnownFile("a compiled circuit", "`verifai compile` writes it again.")),
    (b"verifai/weights/1", KnownFile("the weights of a compiled circuit", "`verifai compile` writes it again.")),
    (b"verifai/sumcheck-zk-proof", KnownFile("a zero-knowledge proof", "It is checked with its bundle: `verifai verify`.")),
    (b"verifai/sumcheck-proof", KnownFile("a proof", "It is checked with its bundle: `verifai verify`.")),
    (b"verifai/sumcheck-zk-statement", KnownFile("what a proof shows", "It is checked with its bundle: `verifai verify`.")),
    (b"verifai/sumcheck-statement", KnownFile("what a proof shows", "It is checked with its bundle: `verifai verify`.")),
    (b"verifai/weights-registration", KnownFile("the registration of a weight commitment", "Its digest is in the lock.")),
    (b"verifai/weights-link", KnownFile("a link between weight commitments", "`verifai weights show` reads it.")),
    (b"verifai/opening-ledger/", KnownFile("the ledger of a weight commitment's openings", _SECRET)),
    (b"verifai/", KnownFile("a file of a circuit or of a vote", "The command that wrote it reads it.")),
    (b"c2sp.org/tlog-proof@v1\n", KnownFile("the proof of an entry on an audit log", "It is read with the bundle beside it.")),
)
_SCHEMA = re.compile(rb"(?:^|[{,])\s*[\"']?schema[\"']?\s*[=:]\s*[\"']verifai/([a-z-]+)/v\d+[\"']", re.MULTILINE)
_NOTE = re.compile(rb"[^\x00-\x20]+\n\d{1,16}\n[A-Za-z0-9+/]{43}=\n(?:[^\n]+\n)*\n\xe2\x80\x94 ")
_BEACON = re.compile(rb"\s*\{(?=[^}]{0,400}\"(?:source|round)\")(?=[^}]{0,4000}\"(?:value|randomness|signature)\")[^}]*\}\s*$")
_SIGSTORE = re.compile(rb"\s*\{\s*\"mediaType\"\s*:\s*\"application/vnd\.dev\.sigstore\.bundle")
_PAGE = re.compile(rb"<!doctype html>", re.IGNORECASE)
_KEPT = {
    "a circuit.toml": KnownFile("a circuit.toml", "It says what a circuit claims: `verifai compile FOLDER`."),
    "a bundle, or another archive": None,
    "an attestation": None,
}


def known_file(head: bytes) -> KnownFile | None:
    """What a file is that begins with ``head``; ``None`` for what is not ours, and for bundles and archives.

    Args:
        head: the first :data:`verifai.domain.our_files.HEAD` bytes, or the whole file.
    """
    for magic, found in _BINARY:
        if head.startswith(magic):
            return found
    if (schema := _SCHEMA.search(head)) is not None:
        name = schema[1].decode("ascii")
        if name in _SCHEMAS:
            return _SCHEMAS[name]
        return KnownFile(f"what the command {name} printed with --json", "For programs; a person reads it without --json.")
    kept = kept_file(head)
    if kept in _KEPT:
        return _KEPT[kept]
    if _NOTE.match(head):
        return KnownFile("a checkpoint of an audit log", "Compare it with what others were shown: `verifai log --help`.")
    if _SIGSTORE.match(head):
        return KnownFile("a Sigstore bundle", "It is read with the bundle beside it.")
    if _BEACON.match(head):
        return KnownFile("what a beacon published", "A round of voters reads it.")
    if _PAGE.match(head):
        return KnownFile("a web page (HTML)", "Open it in a browser. What a page says of itself is no verdict.")
    return None
