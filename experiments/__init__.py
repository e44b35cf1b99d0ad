"""The tables and figures of the papers: rows as data, and what runs them."""
