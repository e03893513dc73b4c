"""What is compared: every file has `comparisons(scale)`, which makes its inputs and yields `Comparison`s.

Inputs are invented; scale multiplies how many there are.
"""
