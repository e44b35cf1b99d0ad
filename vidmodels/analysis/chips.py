"""Published figures of the chips that models are trained on.

  chip = find('TPU v5 lite')  # or 'v5e'; None if there are no figures
  chip.flops  # 197e12 a second in bfloat16

All figures are of one chip, as the makers print them: peaks that no program
reaches.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Chip:
  """One kind of chip."""

  name: str  # what a topology calls it, as in 'v5e:4x4'
  kind: str  # what JAX calls it, a regex over `device.device_kind`
  flops: float  # a second, bfloat16, without sparsity
  hbm_bytes: int
  hbm_bytes_s: float  # bandwidth of its memory
  link_bytes_s: float  # sent a second over all of its links together
  chips_per_host: int
  dimensions: int = 0  # of the torus of a TPU slice; 0 for GPUs
  most_chips: int = 0  # of a slice; 0 for GPUs
  # devices: as many JAX shows for a chip: where it is 2, each has a half
  devices: int = 1
  library_name: str = ''  # what libtpu calls it, if not by its name
  cores: str = (
    ''  # libtpu's name of how its cores are joined, if not by default
  )


_GIB = 1 << 30
CHIPS = (
  # docs.cloud.google.com/tpu/docs/v4; links: 6 x 50 GB/s each way, arXiv
  # 2304.01433 table 4. JAX shows its two cores as one device.
  Chip(
    *('v4', r'TPU v4', 275e12, 32 * _GIB, 1.2e12, 300e9, 4, 3, 4096),
    cores='megacore',
  ),
  # docs.cloud.google.com/tpu/docs/v5e: 400 GB/s of links in both directions.
  Chip('v5e', r'TPU v5 ?(lite|e)', 197e12, 16 * _GIB, 819e9, 200e9, 8, 2, 256),
  # docs.cloud.google.com/tpu/docs/v5p: 4800 Gbit/s of links; the largest job
  # has 6144 chips.
  Chip('v5p', r'TPU v5p?$', 459e12, 95 * _GIB, 2.765e12, 600e9, 4, 3, 6144),
  # docs.cloud.google.com/tpu/docs/v6e: 3200 Gbit/s of links.
  Chip('v6e', r'TPU v6 ?(lite|e)', 918e12, 32 * _GIB, 1.6e12, 400e9, 8, 2, 256),
  # docs.cloud.google.com/tpu/docs/tpu7x (Ironwood): 1200 GB/s of links in both
  # directions; each of its two chiplets is a device.
  Chip(
    *('v7x', r'TPU ?v?7x?', 2307e12, 192 * _GIB, 7.38e12, 600e9, 4, 3, 9216),
    *(2, 'tpu7x'),
  ),
  # NVIDIA's data sheets of the SXM boards: dense figures, which are half of the
  # printed ones with sparsity; NVLink's total is of both directions.
  Chip('h200', r'H200', 989e12, 141 * 10**9, 4.8e12, 450e9, 8),
  Chip('h100', r'H100', 989e12, 80 * 10**9, 3.35e12, 450e9, 8),
  Chip('a100-40g', r'A100.*40 ?GB', 312e12, 40 * 10**9, 1.555e12, 300e9, 8),
  Chip('a100', r'A100', 312e12, 80 * 10**9, 2.039e12, 300e9, 8),
)
# Other names of TPU generations.
ALIASES = {
  'v5litepod': 'v5e',
  'v5lite': 'v5e',
  'tpu7x': 'v7x',
  'ironwood': 'v7x',
  'trillium': 'v6e',
}


def find(name: str) -> Chip | None:
  """The chip of a topology's name or of a device's kind."""
  name = ALIASES.get(name.lower(), name)
  for chip in CHIPS:
    if chip.name == name.lower() or re.search(chip.kind, name):
      return chip
  return None


def tpus() -> list[str]:
  """The names of the TPU generations."""
  return [chip.name for chip in CHIPS if chip.dimensions]
