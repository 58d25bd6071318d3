"""From a folder of pictures to a published store: batches, resume, progress, failures.

`request` says what to do, `run` does it: `explain` is the first pass over the pictures, `judging` the second;
`report_card` and `faithfulness` measure how far to trust what came out. Import from the modules.
"""
