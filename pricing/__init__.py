"""Dealer pricing: pure functions from a request, a market and the dealer's own parameters to a quote or a refusal."""
