"""Learning what the codec ships: the basis of face motion, and its context tables."""
