"""Points: `toy` distributions in the plane, and `two_samples` to compare."""
