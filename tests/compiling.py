"""How tests compile what they run: conftest.py says what XLA leaves out."""

import os


def todays_emitters() -> dict[str, bool]:
  """Options of `jax.jit` for two programs whose bits are compared.

  conftest.py asks for older emitters, which compile faster. They fuse the
  loss with and without mixing differently: weights differed by 3e-8.
  """
  older = '--xla_cpu_use_fusion_emitters=false' in os.environ['XLA_FLAGS']
  return {'xla_cpu_use_fusion_emitters': True} if older else {}
