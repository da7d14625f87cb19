"""Pure loss functions on tensors; docs/losses.md derives them and says how they relate."""
