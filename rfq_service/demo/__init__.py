"""``rfq demo``: the whole service at work, seen from outside through the public API."""
