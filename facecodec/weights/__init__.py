"""Learned weights: where they lie, what they are called, how they are read. ``cards/`` describes them."""
