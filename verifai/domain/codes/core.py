"""Codes that any command can meet."""

from __future__ import annotations

from verifai.domain.codes.code import Code

CODES: dict[str, Code] = {
    "malformed": Code((1, 2), "A document is not what its format allows.", "Get the file again from its maker."),
    "bad-option": Code((2,), "A command-line option cannot be used as given.", "Read the command's --help."),
    "bad-context": Code((2,), "A statement cannot carry this context.", "Give a shorter text, in UTF-8."),
    "file-missing": Code((2,), "A file that was named does not exist or cannot be read.", "Check the path."),
    "file-exists": Code((2,), "The output exists already.", "Choose another name, or pass --force where offered."),
    "bad-output": Code((2,), "An output cannot be written where it was asked for.", "Choose another place or name."),
    "extra-missing": Code((2,), "An optional dependency is not installed.", "Install the extra that the message names."),
    "bug": Code((70,), "verifai itself failed.", "Report it with the text after 'bug'."),
    "interrupted": Code((130,), "The user interrupted the work.", "Run it again; nothing was left half-written."),
    "out-of-memory": Code((4,), "The memory limit was reached.", "Raise the limit, or use a smaller circuit."),
    "deadline": Code((4,), "The time limit was reached.", "Raise the limit, or use a smaller circuit."),
    "no-home": Code((2,), "The user has no home folder to keep something in.", "Set the variable that the message names."),
    "package-missing": Code(
        (4,),
        "A package that verifai depends on is missing or cannot be loaded.",
        "Install verifai again with its dependencies.",
    ),
    "report-too-large": Code((4,), "A PDF of so many bundles would take too much memory.", "Write the report as HTML."),
    "busy": Code((4,), "Another process held what can be used by one at a time.", "Wait for it, then try again."),
    "disk": Code(
        (4,), "Something could not be read, written or shown.", "Free some space, or check the permissions and the device."
    ),
    "nothing-to-check": Code((4,), "There was nothing to check.", "Name at least one bundle."),
    "bench-failed": Code((2,), "A command that bench measures did not succeed.", "Run that command by itself."),
    "demo-accepted-forgery": Code((70,), "The demo's verifier accepted a forgery.", "Do not use this release; report it."),
}
