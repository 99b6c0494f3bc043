"""The mathematics: tensors in, tensors out. Imports torch and the standard library only."""
