"""Market data: feeds, the one path from raw messages to books, and the in-memory board."""
