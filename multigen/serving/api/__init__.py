"""The API: what clients send and receive, as OpenAI's client does, and jobs of our own."""
