"""I3D as mmaction2 and SlowFast released it, 1705.07750 and 1711.07971."""
