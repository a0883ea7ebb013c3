"""Boosting: rounds of trees, each grown on the derivatives of a loss.

boosting     boost(binned, target, objective, config, key) -> Forest
config       what the user says;  checks: what is refused
run          rounds on the devices;  drive: makes them, and stops early
stepping     the same for loops of their own;  dart: with dropout of trees
round        one round as a compiled program;  round_spec: what it is given
placement    rows onto devices;  leaf: values of leaves by line search
"""
