"""The log and the catalogue as columns: schema, readers, checks, splits, feature encoding, batches."""
