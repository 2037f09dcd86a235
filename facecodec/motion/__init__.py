"""Motion of face and scene: fitting, quantisation and prediction, each with its inverse."""
