"""The feature index: every feature of every SAE over a corpus, in one pass."""
