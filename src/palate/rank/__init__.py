"""Will this user take this item? Click-through models: one file each, one contract, one fused embedding table."""
