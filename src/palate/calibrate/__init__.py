"""What does the score mean as a probability? Calibrators behind one contract, and the measures that judge them."""
