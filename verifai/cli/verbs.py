"""The table of verbs, in the order of ``verifai --help``: the way from a model to a release.

Nothing here imports a verb's module, so that ``verifai --help`` loads none; :mod:`verifai.cli.lazy` imports the one that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb.

    Attributes:
        module: of ``verifai.cli``; its function ``register`` adds the verb.
        help: the first sentence of the verb's own help.
    """

    module: str
    help: str


@dataclass(frozen=True, slots=True)
class VerbGroup:
    """Verbs that are typed after a common word, such as ``log append``.

    Attributes:
        help: all that ``--help`` says of the group.
        verbs: by name, in the order of the group's ``--help``.
    """

    help: str
    verbs: Mapping[str, Verb]


VERBS: Mapping[str, Verb | VerbGroup] = {
    "demo": Verb("demo", "Take the whole tour on a real model."),
    "quickstart": Verb("quickstart", "Prove a first sample of your own model, in one command."),
    "export": Verb("export", "Turn a model into canonical ONNX."),
    "init": Verb("init", "Write a commented circuit.toml for a model."),
    "check": Verb("check", "Estimate support, privacy and cost, per engine."),
    "compile": Verb("compile", "Tune, set up and pin a circuit."),
    "prove": Verb("prove", "Prove samples: one evidence bundle each."),
    "generate": Verb("generate", "Answer a prompt with a compiled language model, and prove the answer."),
    "verify": Verb("verify", "Check bundles against a lock you trust."),
    "audit": Verb(
        "audit", "Check all that verify does, rebuild keys from the model, run the model again, check signatures and the log."
    ),
    "dataset": Verb("dataset", "Pin a data set, so that an evaluation of all of it can be asked for."),
    "evaluate": Verb("evaluate", "Prove every sample of a data set, so that anybody can count how good the model is."),
    "split": Verb("chain", "Cut a model into circuits whose proofs chain."),
    "verify-chain": Verb("chain", "Check the proofs of all segments as one inference."),
    "seal": Verb("bundles", "Sign a bundle's manifest."),
    "receipt": Verb("receipt", "Add an in-toto computation receipt and SLSA provenance to a bundle."),
    "pack": Verb("bundles", "Write a bundle as one file."),
    "unpack": Verb("bundles", "Write a bundle as a folder."),
    "handover": Verb("handover", "Put bundles, locks, trust file and report into one file to mail."),
    "inspect": Verb("bundles", "Show what a bundle says it holds, what a lock pins, or what any other file of verifai is."),
    "page": Verb("page", "Write bundles as a page that checks itself in a browser."),
    "diff": Verb("diff", "Show what changed between two bundles."),
    "provenance": Verb("provenance", "Tie a circuit's lock to the signed release that its model comes from."),
    "notarise": Verb(
        "provenance", "Derive a circuit and its weight root from a signed release again, and sign that they came out."
    ),
    "calibrate": Verb(
        "calibrate", "Measure how far honest runs and attacks differ, and set the tolerance between them, or refuse."
    ),
    "record-proofs": Verb(
        "calibrate", "Verify proofs and record what their circuit put out, so that a tolerance can be set for proven claims."
    ),
    "round": VerbGroup(
        "Vote in a shared folder: one command per verifier.",
        {
            "init": Verb("round", "Open a round in a folder that all verifiers share."),
            "join": Verb(
                "round",
                "Vote in a shared round: commit, wait, reveal, and tally for yourself.",
            ),
            "close": Verb("round", "Keep a shared round going without voting in it, then decide it and sign the decision."),
        },
    ),
    "vote-open": Verb(
        "votes", "Open a round: fix what is asked, whom, and which future randomness will be used, before anybody commits."
    ),
    "vote-commit": Verb(
        "votes", "Run the model in a process of its own and commit to its outputs, showing nothing of them yet."
    ),
    "vote-reveal": Verb(
        "votes", "Draw the seed from all commitments and the beacon, and show fingerprints and the outputs that it picks."
    ),
    "vote-replay": Verb(
        "votes", "Feed the tokens that others claim to this verifier's model, and sign by how much each loses at worst."
    ),
    "consensus": Verb("consensus", "Decide whether the verifiers agree: 0 agreed, 1 dissent, 3 too few votes, 4 cannot tell."),
    "gate-init": Verb("gate", "Write a commented policy that these bundles meet."),
    "gate": Verb("gate", "Let a release through only when its evidence meets the policy."),
    "push": Verb("distribute", "Put bundles beside their model: in an OCI layout or registry, or in MLflow."),
    "pull": Verb("distribute", "Fetch the bundles beside a model."),
    "promote": Verb("distribute", "Let an alias in MLflow name a model version, once a gate lets its evidence through."),
    "gate-show": Verb("verdict", "Show what a signed verdict says."),
    "gate-verify": Verb(
        "verdict", "Check who signed a verdict, that it let the release through, by which policy, and which bundles."
    ),
    "bench": Verb("bench", "Measure the engines side by side."),
    "warm-up": Verb("warm_up", "Compile the engine's kernels ahead."),
    "explain": Verb("orientation", "Say what a code means, and what to do about it."),
    "help": Verb("orientation", "Show the help of a command, as --help does."),
    "version": Verb("orientation", "Print the versions of verifai and of what its verdicts rest on."),
    "completion": Verb("orientation", "Print a script that lets a shell complete commands and options."),
    "key": VerbGroup(
        "Make and show Ed25519 signing keys.",
        {
            "new": Verb("keys", "Make a private key (PKCS#8, 0600) and its public half."),
            "show": Verb("keys", "Print a key's public half and its identifier, as trust files and signatures name it."),
        },
    ),
    "trust": VerbGroup(
        "Write the file that says whom and what you trust.",
        {
            "init": Verb("trust", "Write a commented trust file."),
            "show": Verb("trust", "Show whom and what a trust file trusts, and its fingerprint for the telephone."),
            "add": Verb("trust", "Let a key fill a role: release, prover, voter, consensus or gate."),
        },
    ),
    "lock": VerbGroup(
        "Show what a circuit.lock pins.",
        {"show": Verb("lock", "Show what a lock pins, and its fingerprint for the telephone.")},
    ),
    "tee": VerbGroup(
        "Attest with trusted hardware: AMD SEV-SNP, Intel TDX, AWS Nitro.",
        {
            "claim": Verb("tee", "Print the 64 bytes that a machine must sign about a bundle, a receipt or a voter."),
            "receipt": Verb("tee", "Write down one inference by digests, for models that are too large to prove."),
            "show": Verb("tee", "Verify raw evidence and show what it establishes, with the lines for a trust file."),
            "attach": Verb("tee", "Put a machine's evidence into a new bundle, once it holds and is about the right thing."),
        },
    ),
    "weights": VerbGroup(
        "Look after the hiding roots of private weights.",
        {
            "show": Verb(
                "weights", "List the roots that commit to a circuit's private weights, and how often each may still be opened."
            ),
            "renew": Verb(
                "weights",
                "Make a fresh root for the same private weights, proven equal to the pinned one; it takes one opening of that.",
            ),
        },
    ),
    "log": VerbGroup(
        "Append to and prove the audit log.",
        {
            "init": Verb("log", "Make an empty audit log in one file."),
            "append": Verb(
                "log", "Append bundles (manifest and attestations) or digests; what is there already keeps its place."
            ),
            "check": Verb(
                "log", "Recompute the whole tree from its entries; with --seen, check that the past was not changed."
            ),
            "checkpoint": Verb("log", "Sign the current tree head (C2SP checkpoint)."),
            "prove": Verb("log", "Prove that an entry is in the log (C2SP tlog-proof)."),
            "verify": Verb("log", "Check a log proof: the entry must be exactly this one."),
            "consistency": Verb("log", "Prove that an older tree is a prefix of a newer one."),
            "cosign": Verb("log", "Cosign a checkpoint as a witness, once it extends what you saw last."),
        },
    ),
    "srs": VerbGroup(
        "Keep the ezkl engine's set-up files.",
        {
            "list": Verb("srs", "List the local store; every file is judged again."),
            "check": Verb("srs", "Judge a file by its digest and points: the public ceremony's, or test material, or neither."),
            "import": Verb("srs", "Check a file against the ceremony's digests and points, then copy it into the store."),
            "fetch": Verb(
                "srs", "Download the ceremony's file with ezkl's own download; keep it only when its digest is the pinned one."
            ),
            "generate": Verb("srs", "INSECURE, for tests only: make an SRS whose maker can forge every proof."),
            "cut": Verb("srs", "Cut a file to fewer rows: the same set-up, no better and no worse; compile does it by itself."),
        },
    ),
}
