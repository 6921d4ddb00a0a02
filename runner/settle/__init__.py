"""Inspect and settle: what of a recipe this machine, its data and its models decide. Each module imports its own."""
