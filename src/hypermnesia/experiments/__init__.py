"""From names and words to a configuration, and from that to a run; recipes."""
