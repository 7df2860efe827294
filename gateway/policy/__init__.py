"""May they: access, same-origin proof, fairness, what is left of a limit, as arithmetic on values. It does no I/O,
knows no framework and keeps no state.
"""
