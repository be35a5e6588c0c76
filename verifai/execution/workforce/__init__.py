"""Many items worked on at once: by processes of this machine, or by a Ray cluster. Nothing here knows what the work is."""
