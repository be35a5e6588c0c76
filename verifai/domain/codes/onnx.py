"""Codes of ONNX models, exporters and input files."""

from __future__ import annotations

from verifai.domain.codes.code import Code

_EXPORT_AGAIN = "Export the model again from its source."

CODES: dict[str, Code] = {
    "model-malformed": Code((2,), "The file is not a valid ONNX model; the node or tensor is named.", _EXPORT_AGAIN),
    "model-too-large": Code((2,), "The model file exceeds the size limit.", "Split the model."),
    "model-size-bomb": Code((2,), "A value of the model would exceed the memory limits.", "Reduce the dimension or the batch."),
    "model-bad-version": Code((2,), "The IR or opset version is not supported.", "Export the model with opset 18."),
    "model-bad-name": Code((2,), "A name is empty, too long, repeated or not printable.", "Rename the node or tensor."),
    "model-control-flow": Code(
        (2,), "The model branches or loops on data.", "Export with fixed control flow; inline functions."
    ),
    "model-sparse": Code((2,), "The model holds sparse tensors.", "Store them as dense tensors."),
    "model-stochastic": Code((2,), "The model draws random numbers or is in training mode.", "Export it for inference."),
    "model-unknown-domain": Code((2,), "An operator is not of the ONNX standard.", "Export without vendor operators."),
    "model-unknown-operator": Code((2,), "An operator, or a form of it, has no equivalent here.", "Export with opset 18."),
    "model-dtype": Code((2,), "A tensor has an element type that is not supported.", "Convert the model to float32."),
    "model-non-finite": Code((2,), "A weight is NaN, infinite or too large for float32.", "Use finite weights."),
    "model-dynamic-shape": Code(
        (2,), "A shape is not fixed.", "Fix it: `verifai export MODEL -o FILE --dim NAME=SIZE`; or make the shape constant."
    ),
    "model-external-data": Code(
        (2,), "Weights in other files cannot be read safely.", "Keep them beside the model as plain files."
    ),
    "model-unused-input": Code((2,), "No output depends on this input.", "Remove the input from the model."),
    "model-not-canonical": Code((2,), "The model is not in canonical form.", "Run `verifai export MODEL -o FILE`."),
    "reference-failed": Code((2,), "onnxruntime cannot run the model.", _EXPORT_AGAIN),
    "parity-exceeded": Code((2,), "The exported model differs from its source by more than the limit.", "Report the model."),
    "source-unknown": Code((2,), "No exporter reads this source.", "Give an ONNX, .pt2 or skops file, or pkg.module:factory."),
    "source-failed": Code(
        (2,), "The source framework could not load or convert the model.", "Read the message; fix the source."
    ),
    "pickle-refused": Code(
        (2,),
        "Loading the file could run code from it.",
        "Use a safe format; or, if you trust its maker, --trust-type or --trust-pickle.",
    ),
    "bad-tokenizer": Code(
        (2,), "A tokenizer's file is malformed, not the one that is pinned, or has parts that are not taken.", _EXPORT_AGAIN
    ),
    "input-text": Code((2,), "A text cannot be given to this circuit.", "Shorten or change the text, as the message says."),
    "bad-facts": Code((2,), "The file of facts beside the model is malformed, or of another model.", _EXPORT_AGAIN),
    "input-malformed": Code(
        (2,), "An input file is not of its format.", "Write it again: arrays with numpy.savez, a table as CSV with a header."
    ),
    "input-too-large": Code((2,), "An input file exceeds the size limit.", "Split it."),
    "input-missing": Code((2,), "An input tensor is missing.", "Name each array as the model names its inputs."),
    "input-unknown": Code((2,), "An array is not an input of the model.", "Remove it, or rename it."),
    "input-shape": Code((2,), "An input tensor has the wrong shape.", "Give the shape that the message names."),
    "input-dtype": Code((2,), "An input tensor has the wrong element type.", "Convert it to the type that the message names."),
    "input-non-finite": Code((2,), "An input value is NaN or infinite.", "Clean the data."),
}
