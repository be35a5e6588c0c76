"""The release gate: evidence is collected, judged against a policy, and the verdict is signed."""
