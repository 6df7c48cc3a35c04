"""Property tests draw the same examples at every run; `--hypothesis-profile=wide` draws fresh ones, and many."""

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("wide", derandomize=False, deadline=None, print_blob=True, max_examples=2000)
settings.load_profile("same")
