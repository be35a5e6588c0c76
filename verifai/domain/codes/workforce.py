"""Codes of work that others do: processes, and the workers of a cluster."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "worker-answer-wrong": Code(
        (4,),
        "A worker of a cluster gave back something else than the proof that was asked for; nothing was made of it.",
        "Look at the node that is named; what it was given was given to others.",
    ),
    "worker-failed": Code(
        (4,),
        "Several workers in turn did not prove a sample, so it was left out.",
        "See what they said; give the same command again.",
    ),
    "worker-task-malformed": Code(
        (2, 4), "A worker could not read what it was given.", "Give all nodes the same release of verifai."
    ),
    "not-shipped": Code(
        (2,),
        "Proving on a cluster would show its workers what the proofs hide.",
        "Allow it with --ship-weights or --ship-inputs, or prove on this machine.",
    ),
    "not-remote": Code(
        (2,),
        "Strangers cannot do this, since what they give back could not be checked.",
        "Do it on this machine: leave --on out.",
    ),
    "ray-missing": Code(
        (2,),
        "Ray is not installed, or another release of it than verifai reads.",
        "Run in a checkout of verifai: `pip install '.[ray]'`",
    ),
    "cluster-lost": Code(
        (4,),
        "The cluster cannot be reached, or went away; what was finished stays.",
        "When it is up again, give the same command again.",
    ),
    "no-worker-left": Code(
        (4,),
        "No node of the cluster has the memory and the cores for one proof, or all of them were left out.",
        "Add nodes, or larger ones; then give the same command again.",
    ),
}
