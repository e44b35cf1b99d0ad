"""Made-up video sets that tell models apart: motion, textures, both."""
