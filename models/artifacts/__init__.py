"""Fitted parameters on disk: their manifest, and loading with a digest check."""
