"""Reference pictures: how they are coded, kept and chosen."""
