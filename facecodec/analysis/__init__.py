"""What the encoder finds out about pictures: scene motion, references, palettes, quality."""
