"""The deck: what a team keeps for a meeting, as slides whose every number can be counted again.

`slide` says what a slide is; `figures` turns the rows of a query into the words on it.
"""
