"""One-sided writes between registered regions."""
