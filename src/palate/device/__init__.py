"""Export and the on-device runtime."""
