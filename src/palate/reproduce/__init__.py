"""One file per system: the paper's claim at a reduced size."""
