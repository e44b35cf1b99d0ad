"""A user's own videos, as a folder per class or a list, to rows."""
