"""The command line: `plan`, `scale`, `simulate`, `fetch`, one module each."""
