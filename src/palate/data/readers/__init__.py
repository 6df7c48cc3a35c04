"""Formats that Palate reads: one file per format, found by themselves; see :mod:`palate.data.readers.contract`."""
