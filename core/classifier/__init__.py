"""Image classifiers: opening them, their class names, preprocessing, target layers and precision.

`loading` gives a `Classifier`; `sources` knows the forms of a SPEC, `names` what the command line needs to know of them
without loading torch. Import from the modules.
"""
