"""How official checkpoints are laid out: one file per family, each with `LAYOUTS` by name."""
