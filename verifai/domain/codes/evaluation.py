"""Codes of data sets and evaluations."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_ASK = "Do not use its figures; ask for an evaluation that `verifai evaluate` made of the pinned data set."

_LOWER = "Do not release it, or lower what the policy demands."

CODES: dict[str, Code] = {
    "bad-data-lock": Code(
        (2,), "The lock of a data set is not as its schema says.", "Pin the data set again: `verifai dataset`."
    ),
    "label-missing": Code((2,), "Nothing in the file is known to be the labels.", "Name the array or column: `--label NAME`."),
    "data-lock-differs": Code(
        (2,), "The samples are not those that the given lock pins.", "Give the file that was pinned, or pin this one."
    ),
    "evaluation-differs": Code((2,), "What lies at the output is not this evaluation.", "Choose another name for the output."),
    "evaluation-complete": Code((0,), "The bundle holds one evaluation, its circuit and its proofs, and nothing else.", ""),
    "data-root-pinned": Code((0,), "The evaluation is about the pinned data set.", ""),
    "data-pinned": Code((0,), "The samples and labels in the bundle are the pinned ones.", ""),
    "samples-matched": Code((0,), "Each proven input is the sample at its place.", ""),
    "answers-read": Code((0,), "It is known which output answers, and which class is which.", ""),
    "metrics-counted": Code((0,), "The stated metrics are those that were counted again.", ""),
    "classes-by-place": Code(
        (0,),
        "The lock names no classes, so those of the data set were taken in their order.",
        "Write `labels` below `[outputs]` in circuit.toml, and compile again.",
    ),
    "data-not-pinned": Code((1,), "The evaluation is about another data set than the pinned one.", _ASK),
    "data-malformed": Code((1,), "The samples in the bundle cannot be read.", _ASK),
    "data-inputs-differ": Code((1,), "The samples in the bundle are not the pinned ones, or not in their order.", _ASK),
    "data-labels-differ": Code((1,), "The labels in the bundle are not the pinned ones, or not in their order.", _ASK),
    "data-groups-differ": Code((1,), "The groups in the bundle are not the pinned ones, or not in their order.", _ASK),
    "samples-left-out": Code(
        (0,),
        "Samples lie outside what the circuit takes: nothing about them is proven, and they are counted as wrong.",
        "Compile with calibration data that cover the data set, or with a larger `input_margin`.",
    ),
    "items-not-alike": Code(
        (3,),
        "The pinned circuit treats samples of a batch differently by their place, so it may know the data set's order.",
        "Ask for a circuit that `verifai compile` made, and for a new evaluation.",
    ),
    "count-only": Code(
        (2, 3),
        "The circuit counts right answers over a data set; it shows no answer to a single input.",
        "Use it with `verifai evaluate`; or compile a circuit without `count_right`.",
    ),
    "count-unsupported": Code(
        (2,),
        "The model has no output whose right answers could be counted inside a proof.",
        "Leave `count_right` out, and show the class; or export the model with a score for each class.",
    ),
    "sample-missing": Code((1,), "Some samples of the data set are not proven.", _ASK),
    "sample-added": Code((1,), "More inferences are proven than the data set has samples.", _ASK),
    "sample-repeated": Code((1,), "One sample is proven again in the place of another.", _ASK),
    "sample-out-of-order": Code((1,), "A later sample is proven in the place of another.", _ASK),
    "sample-unknown": Code((1,), "What is proven in the place of a sample is no sample of the data set.", _ASK),
    "sample-not-outside": Code((1,), "A sample is left out that the circuit takes.", _ASK),
    "count-labels-differ": Code((1,), "A proof counted with other labels than the pinned ones, or in another order.", _ASK),
    "metrics-differ": Code((1,), "The evaluation states other metrics than those that are counted again.", _ASK),
    "no-evaluation": Code((3,), "The bundle holds no evaluation.", "Ask for a bundle made by `verifai evaluate`."),
    "evaluation-not-asked": Code(
        (3,),
        "The bundle holds an evaluation, and it was not said which data set it must be of.",
        "Bring the pin of the data set: `--data data.lock`, or `[model.evaluation]` in a policy.",
    ),
    "evaluation-input-hidden": Code(
        (3,),
        "An input is hidden, so it cannot be matched with the data set.",
        "Ask for an evaluation with public inputs; weights and scores may stay hidden.",
    ),
    "evaluation-output-hidden": Code(
        (3,), "The output that a metric needs is hidden.", "Ask for a circuit that shows at least the class."
    ),
    "evaluation-no-answer": Code(
        (3,),
        "No output says one thing per sample that the labels could be compared with.",
        "Evaluate with a data set of the model's own task.",
    ),
    "evaluation-other-inputs": Code(
        (3,), "The data set does not fit the circuit's inputs.", "Pin the data set that the model takes."
    ),
    "evaluation-met": Code((0,), "A metric that was counted meets what the policy demands.", ""),
    "accuracy-below-floor": Code((3,), "Fewer answers are right than demanded, of all samples or of a group's.", _LOWER),
    "recall-below-floor": Code((3,), "Fewer samples of a class are recognised than demanded.", _LOWER),
    "precision-below-floor": Code((3,), "Fewer decisions for a class are right than demanded.", _LOWER),
    "top-k-below-floor": Code((3,), "The right class is among the k largest scores less often than demanded.", _LOWER),
    "groups-too-far-apart": Code((3,), "The model does worse for one group than for another, by more than allowed.", _LOWER),
    "error-above-limit": Code((3,), "The errors of the proven numbers are larger than allowed.", _LOWER),
    "too-many-left-out": Code(
        (3,),
        "More samples than allowed lie outside what the circuit takes, so that no answer to them is proven.",
        "Ask for a circuit that is calibrated with data like these; or allow more: `largest_share_left_out`.",
    ),
    "r2-below-floor": Code((3,), "R² is lower than demanded.", _LOWER),
    "too-few-samples": Code((3,), "The data set has fewer samples than demanded.", "Evaluate a larger data set."),
    "classes-differ": Code(
        (3,), "The classes of data set and circuit cannot be brought together.", "Pin the data set with the circuit's labels."
    ),
}
