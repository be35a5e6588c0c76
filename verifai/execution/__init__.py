"""Where work runs: isolated child processes, pools, atomic files."""
