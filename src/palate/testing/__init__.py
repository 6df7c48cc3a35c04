"""The contract batteries, usable by outsiders in one line."""
