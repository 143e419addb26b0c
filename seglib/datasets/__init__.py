"""Datasets by name: those that are drawn on the spot, as TFDS builders, and the table of those that TFDS fetches."""
