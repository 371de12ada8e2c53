"""The endpoint: OpenAI's HTTP interface over a running controller."""
