"""Output kind → fingerprint. Adding a kind without a line here does not pass the type checker."""

from __future__ import annotations

from typing import assert_never

from verifai.domain.consensus.job import OutputKind
from verifai.fingerprints.embeddings import EmbeddingsFingerprint
from verifai.fingerprints.exact import ExactFingerprint
from verifai.fingerprints.image import ImageFingerprint
from verifai.fingerprints.interface import Fingerprint
from verifai.fingerprints.logits import LogitsFingerprint
from verifai.fingerprints.samples import SamplesFingerprint
from verifai.fingerprints.tabular import TabularFingerprint
from verifai.fingerprints.text import TextFingerprint
from verifai.fingerprints.tokens import TokensFingerprint


def fingerprint_for(kind: OutputKind) -> Fingerprint:
    """The fingerprint of a kind."""
    match kind:
        case OutputKind.EXACT:
            return ExactFingerprint()
        case OutputKind.LOGITS:
            return LogitsFingerprint()
        case OutputKind.EMBEDDINGS:
            return EmbeddingsFingerprint()
        case OutputKind.TOKENS:
            return TokensFingerprint()
        case OutputKind.TEXT:
            return TextFingerprint()
        case OutputKind.IMAGE:
            return ImageFingerprint()
        case OutputKind.TABULAR:
            return TabularFingerprint()
        case OutputKind.SAMPLES:
            return SamplesFingerprint()
        case _ as unreachable:
            assert_never(unreachable)
