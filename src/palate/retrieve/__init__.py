"""Find it by sound, picture or words."""
