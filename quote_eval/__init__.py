"""Buy-side evaluation of quotes: what each should cost, what the alternative costs, what to do. Pure."""
