"""A language model behind one door: local weights or an OpenAI-compatible endpoint."""
