"""May they: access, same-origin proof, fairness, as arithmetic on values. It does no I/O, knows no framework and
keeps no state.
"""
