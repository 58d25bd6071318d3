"""Class activation maps at the price of a prediction, and how faithful they are.

`attribute` gives predictions and maps of a batch, `causal` and `faithfulness` check them, `methods` lists the formulas,
`names` what the command line needs to know of them without loading torch. Import from the modules.
"""
