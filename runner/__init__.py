"""The interpreter of recipes: from a YAML file to a trained model and its pictures."""

__version__ = "0.1.0"
