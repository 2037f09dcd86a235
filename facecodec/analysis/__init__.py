"""What the encoder finds out about pictures: the motion of the scene."""
