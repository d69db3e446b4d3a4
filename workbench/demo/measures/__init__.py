"""Measures of the demo world: what its model can do, how good its SAEs are, what they name."""
