"""Data that ships with whylook."""
