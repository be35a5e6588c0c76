"""Codes of answers of language models."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "answer-malformed": Code(
        (1,),
        "The statement is about a prompt and an answer that its tokens cannot hold.",
        "Reject the evidence; ask for a bundle made by `verifai generate`.",
    ),
    "answer-not-linked": Code(
        (1,),
        "A token of the answer is not the one that the position before it put out.",
        "Reject the evidence: the model did not write this answer to this prompt.",
    ),
    "answer-cut": Code(
        (1,), "Tokens stand behind what is said to be the end of the answer.", "Reject the evidence: the answer goes on."
    ),
    "answer-past-end": Code(
        (1,), "The answer goes on behind a token that ends texts.", "Reject the evidence: the model ended its answer before."
    ),
    "answer-ending": Code(
        (1,),
        "The statement says in another way why the answer ends than its last token does.",
        "Reject the evidence; ask for a bundle made by `verifai generate`.",
    ),
    "answer-not-pinned": Code(
        (3,),
        "The statement is about an answer, and the lock does not say how one is read.",
        'Ask for a lock of a circuit that says next = "…" in [tokenizer].',
    ),
    "answer-linked": Code((0,), "The answer is the greedy continuation of the prompt, computed from the proven tokens.", ""),
    "answer-shown": Code((0,), "The proof is of an answer whose tokens are linked, as the policy demands.", ""),
    "answer-not-shown": Code(
        (3,), "The policy demands answers, and the proof is not about one.", "Make the evidence with `verifai generate`."
    ),
    "answer-unfinished": Code(
        (3,),
        "The policy demands answers that the model ended, and this one was cut at as many tokens as were asked for.",
        "Generate the answer again with a larger `--max-tokens`.",
    ),
    "not-causal": Code(
        (2,),
        "A position's next token depends on later positions, so no answer can be written one by one.",
        "Use a causal model: check the mask of its attention.",
    ),
}
