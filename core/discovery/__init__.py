"""Causes that stand in no column: ways of seeing a class, where they lie, and whether the classifier uses them.

strategies.py finds groups, regions.py where they differ; candidates.py says what is worth a test, changes.py makes
changed pictures, interventions.py measures what they do, cues.py gives the verdict.
"""
