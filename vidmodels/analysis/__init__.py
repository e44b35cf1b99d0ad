"""What a model costs, and what the papers say it does."""
