"""What many places say alike is told once to people; what failed is told of each."""

from __future__ import annotations

from verifai.domain.findings import Finding, Outcome, folded, holds, not_checked


def unsigned(place: int) -> Finding:
    return not_checked("signature-not-required", "no signature is demanded", "T3", where=f"attestations/{place}")


def test_what_many_places_say_alike_is_told_once_with_their_number() -> None:
    mine = [holds("signed", "signed", "T2", where="bundle"), *map(unsigned, range(1200)), holds("trust-current", "until", "T1")]
    first, second, third = folded(mine)
    assert (first, third) == (mine[0], mine[-1])
    assert second.where == "attestations/0, and 1,199 more"
    assert (second.code, second.message, second.step) == ("signature-not-required", "no signature is demanded", "T3")


def test_what_failed_or_differs_or_is_said_twice_stays_as_it_is() -> None:
    failed = [Finding("signature-invalid", Outcome.REJECTED, "false", where=f"attestations/{place}") for place in range(5)]
    others = [holds("reference-near", f"sample {place}", where="y") for place in range(5)]
    mine = [unsigned(0), *failed, *others, unsigned(1), *[holds("proof-valid", "holds")] * 4]
    assert folded(mine) == tuple(mine)
