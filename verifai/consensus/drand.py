"""drand: its service's JSON read strictly, and its BLS signatures verified under the pinned keys (``py_ecc``, extra [drand]).

Source: drand's specification, "Randomness generation" and "Schemes" (pedersen-bls-chained, bls-unchained-g1-rfc9380); BLS
signatures by draft-irtf-cfrg-bls-signature, hashing to the curve by RFC 9380.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from verifai.domain import strict_json
from verifai.domain.consensus.beacons import DrandChain, PublishedBeacon, chain_of
from verifai.domain.consensus.round import BeaconRule
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.packages import install_hint
from verifai.execution.recursion import recursion_limit_kept

MAX_BYTES = 8192
_DST = b"BLS_SIG_BLS12381G%d_XMD:SHA-256_SSWU_RO_NUL_"


def parse_drand(data: bytes, rule: BeaconRule, round_id: Sha256, where: str) -> PublishedBeacon:
    """drand's JSON of one number, as its service returns it: ``round``, ``randomness``, ``signature``, ``previous_signature``.

    Fields that the service may add later are ignored: the signature is over none of them.

    Args:
        rule: of the voting round; its source is a drand chain.
        round_id: of the voting round's terms.

    Raises:
        UsageError: ``bad-beacon``, when it is no such JSON, or of another number.
        EvidenceRejected: ``beacon-false``, when randomness or signature do not hold under the chain's key.
        Undecided: ``package-missing``.
    """
    chain = chain_of(rule)
    assert chain is not None, "asked of a round whose beacon is a drand chain"
    document = strict_json.loads(data, where=where, max_bytes=MAX_BYTES, error=UsageError, code="bad-beacon")
    record = Record(document, where, error=UsageError, code="bad-beacon")
    number = record.integer("round", low=1, high=2**53 - 1)
    if number != rule.number:
        hint = f"Fetch it: {chain.url(rule.number)}"
        raise UsageError("bad-beacon", f"this is number {number}, the round waits for {rule.number}", where=where, hint=hint)
    signature_size = 192 if chain.chained else 96
    signature = record.text("signature", pattern=f"[0-9a-f]{{{signature_size}}}")
    previous = record.text("previous_signature", pattern=r"[0-9a-f]{192}") if chain.chained else ""
    found = PublishedBeacon(round_id, rule.source, number, signature, previous)
    if record.has("randomness") and record.text("randomness", max_length=64) != found.beacon.value:
        raise EvidenceRejected("beacon-false", "the randomness is not the digest of the signature", where=where)
    require_signed(found)
    return found


def require_signed(published: PublishedBeacon) -> None:
    """The chain's key signed exactly this number.

    Raises:
        EvidenceRejected: ``beacon-false``. Undecided: ``package-missing``.
    """
    try:
        chain = chain_of(BeaconRule(published.source, published.number))
    except UsageError as problem:
        raise EvidenceRejected("beacon-false", problem.message) from None
    if chain is None:
        raise EvidenceRejected("beacon-false", f"{published.source[:80]!r} is no drand chain")
    signature, previous = bytes.fromhex(published.signature), bytes.fromhex(published.previous_signature)
    if not _verifies(chain, chain.message(published.number, previous), signature):
        message = f"the signature is not that of {chain.source} over number {published.number}"
        raise EvidenceRejected("beacon-false", message, hint=f"Fetch it: {chain.url(published.number)}")


def to_drand_json(published: PublishedBeacon) -> bytes:
    """As the service returns it."""
    chained = {"previous_signature": published.previous_signature} if published.previous_signature else {}
    document = {"round": published.number, "randomness": published.beacon.value, "signature": published.signature, **chained}
    return json.dumps(document).encode()


def _verifies(chain: DrandChain, message: bytes, signature: bytes) -> bool:
    """e(signature, generator) = e(H(message), key), both points in their subgroups and not at infinity."""
    if len(signature) != (96 if chain.chained else 48):
        return False
    try:
        with recursion_limit_kept():
            from py_ecc.bls import hash_to_curve
            from py_ecc.optimized_bls12_381 import FQ12, G1, G2, final_exponentiate, neg, pairing
    except ImportError as problem:
        raise Undecided(
            "package-missing", f"drand's signatures cannot be checked: {problem}", hint=install_hint("drand")
        ) from None
    key = bytes.fromhex(chain.public_key)
    found = _point(signature, twisted=chain.chained)
    pinned = _point(key, twisted=not chain.chained)
    if found is None or pinned is None:
        return False
    # pairing(Q, P) takes its point of G2 first.
    if chain.chained:
        hashed = hash_to_curve.hash_to_G2(message, _DST % 2, hashlib.sha256)
        product = pairing(found, G1, False) * pairing(hashed, neg(pinned), False)
    else:
        hashed = hash_to_curve.hash_to_G1(message, _DST % 1, hashlib.sha256)
        product = pairing(G2, found, False) * pairing(pinned, neg(hashed), False)
    return bool(final_exponentiate(product) == FQ12.one())


def _point(data: bytes, *, twisted: bool) -> Any | None:
    """A compressed point of G2 (``twisted``) or G1; ``None`` unless it lies in the subgroup, away from infinity."""
    with recursion_limit_kept():
        from py_ecc.bls.g2_primitives import subgroup_check
        from py_ecc.bls.point_compression import compress_G1, compress_G2, decompress_G1, decompress_G2
        from py_ecc.optimized_bls12_381 import is_inf

    try:
        if twisted:
            point = decompress_G2((int.from_bytes(data[:48], "big"), int.from_bytes(data[48:], "big")))
            again = b"".join(one.to_bytes(48, "big") for one in compress_G2(point))
        else:
            point = decompress_G1(int.from_bytes(data, "big"))
            again = compress_G1(point).to_bytes(48, "big")
    except (ValueError, AssertionError, OverflowError):
        return None
    return point if again == data and not is_inf(point) and subgroup_check(point) else None


def digest_of_chain(chain: DrandChain) -> str:
    """The chain's hash, computed from what is pinned: it is how drand names a chain, so nothing pinned may differ from it."""
    identifier = b"" if chain.name == "default" else chain.name.encode()
    body = chain.period.to_bytes(4, "big") + chain.genesis.to_bytes(8, "big") + bytes.fromhex(chain.public_key)
    return sha256(body + bytes.fromhex(chain.group_hash) + identifier)
