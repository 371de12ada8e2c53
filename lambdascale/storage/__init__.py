"""Where images are read from: files into registered memory."""
