"""A language model behind one door."""
