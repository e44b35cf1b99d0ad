"""Video-FocalNets' tables and figures (arXiv 2307.06947), and their release."""
