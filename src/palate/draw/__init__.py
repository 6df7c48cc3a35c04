"""Make the picture show what the prompt says."""
