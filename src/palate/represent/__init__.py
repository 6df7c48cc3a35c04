"""Item content to vectors, codes and tokens."""
