"""From a file's keys to our parameters: rules, applying them, recognising."""
