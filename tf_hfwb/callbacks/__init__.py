"""The Keras callbacks, one a file."""
