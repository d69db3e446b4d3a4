"""Training of the demo world: the language model, its SAEs, and the settings of both."""
