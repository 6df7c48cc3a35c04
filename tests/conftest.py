"""Property tests draw the same examples at every run; `--hypothesis-profile=wide` draws fresh ones, and many.

A shell that starts a job in the background (`nohup make test &`) has it ignore Ctrl-C, and every process below it too;
the tests that press Ctrl-C then wait in vain. So the usual handler is put back, here and thereby in what tests start.
"""

import signal

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("wide", derandomize=False, deadline=None, print_blob=True, max_examples=2000)
settings.load_profile("same")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
