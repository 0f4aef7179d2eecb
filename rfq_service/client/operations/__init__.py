"""Every operation of the API as a function that makes its ``Call``; both clients offer them as methods."""
