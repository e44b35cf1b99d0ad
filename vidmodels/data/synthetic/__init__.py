"""Made-up motion videos whose label no single frame shows."""
