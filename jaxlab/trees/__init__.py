"""Gradient-boosted trees, random forests and AdaBoost on histograms of binned data."""
