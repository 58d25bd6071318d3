"""Causes that stand in no column: ways of seeing a class, where they lie, and whether the classifier uses them.

strategies.py finds groups, regions.py where they differ, interventions.py tests them, describe.py names them.
"""
