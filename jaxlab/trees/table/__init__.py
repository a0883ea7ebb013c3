"""Features to bytes: `binning`, of `columns`, `cuts` and `codes`."""
