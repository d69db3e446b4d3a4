"""Does the model know this entity? Recognition directions (Ferrando et al. 2024)."""
