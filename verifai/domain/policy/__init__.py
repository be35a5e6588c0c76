"""The release policy: its demands, how it is read, waivers, judgement and verdict."""
