"""A lab for self-supervised visual representation learning, composed from independent parts."""

__version__ = "0.1.0"
