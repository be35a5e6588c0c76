"""Codes of voting rounds, calibrations, decisions and claims."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "beacon-unproven": Code(
        (1,),
        "The round names a drand chain, and nothing proves the value that was used.",
        "Give the chain's JSON, as its service returns it: --beacon FILE",
    ),
    "beacon-false": Code(
        (1,), "What is given as a drand chain's randomness was not signed by the chain's key.", "Fetch it from drand again."
    ),
    "beacon-early": Code(
        (1,),
        "The randomness was public before the last commitment was due, so an answer could be chosen to fit it.",
        "Open a new round; round init chooses a number that is late enough.",
    ),
    "round-waiting": Code((4,), "The round waits for somebody; nothing is lost.", "Run the same command again to go on."),
    "round-git": Code(
        (2,),
        "The shared folder lies in no working copy of a git branch that follows another one.",
        "Clone the repository that all push to, and push its branch once: git push -u origin HEAD",
    ),
    "git-failed": Code(
        (4,),
        "Git could not fetch, merge or push the branch of a round.",
        "Try the named command of git by hand; then run the same command again: nothing is lost.",
    ),
    "round-late": Code(
        (3,),
        "The round went on without this party, or without its list.",
        "Join a new round before its deadlines.",
    ),
    "round-two-lists": Code(
        (1,),
        "The coordinator signed two different lists of one step: it told the verifiers different things.",
        "Keep both lists, they are signed evidence. Open a new round with another coordinator.",
    ),
    "round-changed": Code(
        (2,), "The folder holds another round than the one that was joined there.", "Ask the coordinator; use a new folder."
    ),
    "round-key": Code((1,), "A file of the round is not the one that its terms name.", "Ask the coordinator for a new folder."),
    "round-coordinator": Code(
        (2,), "Nobody said who the coordinator is, so anybody could have opened the round.", "Ask; then give --coordinator."
    ),
    "round-secret-missing": Code(
        (2,), "This key took part already, and what it needs to go on is not here.", "Run the command where it was run first."
    ),
    "doubtful-message": Code(
        (2,), "Two messages are in one verifier's name, and its key is not known.", "Give the verifiers' keys: --voter KEY.pub"
    ),
    "consensus-reached": Code((0,), "Enough verifiers agree within the tolerance.", "Nothing to do."),
    "consensus-dissent": Code(
        (1,),
        "The verifiers disagree: no answer has all but f of the votes within the tolerance.",
        "Read the dissent report: it names each verifier's distance and the attack or environment that it looks like.",
    ),
    "no-quorum": Code((3,), "Fewer than 2f + 1 valid votes arrived.", "Ask more verifiers, or find out why some failed."),
    "consensus-indeterminate": Code(
        (4,),
        "The tolerance cannot tell the answers apart, such as a class decided by less than the tolerance.",
        "Vote on the raw values, replay the tokens, or accept that this output is a coin toss.",
    ),
    "verifier-fault": Code(
        (0, 1, 3, 4),
        "A verifier broke the round's rules: absent, late, lied, copied, replayed, or voted twice. It does not count.",
        "The finding names the verifier and the fault. A lie is signed evidence; an absence is not.",
    ),
    "verifier-dissents": Code(
        (0, 1, 3, 4), "A verifier's answer lies outside the accepted ball.", "Compare its environment and the attack named."
    ),
    "weighted-differs": Code(
        (0, 1, 3, 4),
        "Weighing the votes by reputation would give another result; the unweighted one stands.",
        "Look at who dissents: a verifier of long good standing disagrees with the majority.",
    ),
    "claim-outside-ball": Code(
        (1,), "The claimed or proven output lies outside the verifiers' agreement.", "Do not release that output."
    ),
    "claim-inside-ball": Code((0,), "The claimed or proven output lies inside the verifiers' agreement.", "Nothing to do."),
    "claim-indeterminate": Code(
        (4,), "The tolerance cannot tell the claimed output from the agreed one.", "See consensus-indeterminate."
    ),
    "not-separable": Code(
        (2, 3),
        "Honest runs and the weakest attack are less than ten times apart, so no tolerance is safe.",
        "Use a more portable precision class, more projections, or name the attack as not covered.",
    ),
    "calibration-not-transferable": Code(
        (3,),
        "The tolerance that the other environments give rejects too many honest runs of the one left out.",
        "Calibrate over more environments, or vote within one class of machines.",
    ),
    "calibration-too-small": Code(
        (3,), "Too few environments, inputs or attacks to calibrate on.", "Give more data and at least three environments."
    ),
    "calibration-expired": Code((3,), "The calibration is out of date.", "Calibrate again."),
    "calibration-runtime": Code((3,), "The runtime changed since the calibration.", "Calibrate again."),
    "calibration-subject": Code(
        (3,), "The calibration is for another model, precision class, runtime option or fingerprint.", "Calibrate this one."
    ),
    "round-too-small": Code((2,), "Fewer than 2f + 1 verifiers were asked.", "Ask more verifiers."),
    "round-terms": Code((2,), "The round's terms contradict themselves.", "Correct the field that is named."),
    "round-order": Code((1,), "A step of the round was taken out of order.", "Commit, draw the seed, reveal, tally."),
    "beacon-mismatch": Code((1,), "The beacon is not the one that the terms name.", "Use the beacon named in the terms."),
    "seed-mismatch": Code((1,), "The seed does not follow from the commitments and the beacon.", "Compute the votes again."),
    "fingerprint-parameters": Code(
        (2,), "A fingerprint parameter is unknown or out of range.", "Use the parameters that docs/consensus.md lists."
    ),
    "fingerprint-malformed": Code((1,), "A fingerprint is not of the form that its scheme writes.", "Ask for the vote again."),
    "output-not-finite": Code((1,), "An output holds NaN or an infinity.", "Find out why the model gives no number there."),
    "output-unfit": Code(
        (1, 2), "An output does not have the form that its kind asks for.", "Choose the kind that fits, see docs/consensus.md."
    ),
    "not-portable": Code(
        (3,), "The model's outputs depend on the machine or the batch in its precision class.", "Use the option that is named."
    ),
    "portable": Code((0,), "The model's outputs are portable across machines in its precision class.", "Nothing to do."),
    "batch-shape": Code((2,), "The samples cannot be put into one batch.", "Use batch 1, or samples of one shape."),
    "runner-failed": Code(
        (4,), "onnxruntime failed while running the model.", "The message is onnxruntime's; check the input."
    ),
    "runner-refused": Code((2,), "onnxruntime cannot load the model.", "Export the model again; the message is onnxruntime's."),
    "claim-model": Code(
        (1,),
        "The proof is about another model than the vote, or lacks an output that is voted on.",
        "Prove the model that is voted on, with the lock that pins it.",
    ),
    "claim-input": Code((1,), "The proof is about other inputs than those voted on.", "Prove the samples that are voted on."),
    "claim-batch": Code(
        (3,), "A claimed proof is of several inferences at once.", "Prove with a circuit that was compiled without a batch."
    ),
    "claim-hidden": Code(
        (3,), "An output that is voted on is not public in the claimed proof.", "Compile the circuit with public outputs."
    ),
    "claim-count": Code(
        (2,), "There is not one proof per sample of the round, or of the data.", "Give one per sample, in the samples' order."
    ),
    "runs-mixed": Code((2,), "The proofs to record are of more than one circuit.", "Record each circuit in a file of its own."),
    "replay-input": Code((2,), "It is not clear which input of the model takes the tokens.", "Name it with --token-input."),
    "replay-kind": Code((2,), "Only token sequences are replayed.", "Other kinds are decided by their fingerprints."),
    "replay-failed": Code(
        (4,), "The model could run none of the claimed sequences.", "Raise the deadline, or read the runtime's message."
    ),
    "consensus-false": Code(
        (1,),
        "Tallying the votes again gives another decision than the one that is attested.",
        "Trust nothing that this coordinator signed; tally the votes yourself.",
    ),
    "consensus-incomplete": Code(
        (1,), "A message that the decision rests on is not there.", "Ask for the round's messages: terms, commitments, votes."
    ),
    "calibration-missing": Code(
        (2, 3), "This kind of output needs a measured tolerance.", "Run `verifai calibrate MODEL DATA -o FILE`."
    ),
    "bad-beacon": Code((2,), "The beacon file cannot be read.", "It holds source, number and value, nothing else."),
    "bad-runs": Code(
        (2,),
        "The file of recorded runs cannot be read.",
        "Make it with `verifai calibrate MODEL DATA -o FILE --record RUNS`, or with `verifai record-proofs`.",
    ),
    "bad-secret": Code((2,), "The secret file of a vote is damaged.", "Use the file that vote-commit wrote."),
    "job-input": Code((2,), "The inputs or outputs are not those of the job.", "Vote on exactly the inputs that it names."),
    "job-model": Code((2,), "The model is not the one that the job names.", "Get the model of that digest."),
    "not-asked": Code((2,), "The round does not ask this verifier.", "Sign with the key that the round names."),
    "terms-not-signed": Code(
        (1,),
        "The coordinator did not sign the round's terms or the tolerance.",
        "Get terms and tolerance that your coordinator signed.",
    ),
    "verifier-process": Code(
        (4,), "A verifier's process died or answered nonsense.", "Run it again; the message says how it ended."
    ),
}
