"""Make a language model speak to this user."""
