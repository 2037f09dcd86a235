"""From pixels to the points of one face: detection, landmarks, smoothing, the coded square."""
