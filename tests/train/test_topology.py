"""Hardware by name: what exists is made, what does not is refused."""

import pytest

from vidmodels.analysis import chips
from vidmodels.train import topology
from vidmodels.typing import InputError


@pytest.mark.parametrize(
  ('text', 'count', 'chip'),
  [
    ('v5e:4x4', 16, 'v5e'),
    ('v5e:16x16', 256, 'v5e'),
    ('v5e:1x1', 1, 'v5e'),
    ('v5litepod:2x4', 8, 'v5e'),
    ('v4:2x2x1', 4, 'v4'),
    ('v5p:4x4x4', 64, 'v5p'),
    ('v5p:4x8x12', 384, 'v5p'),
    ('v6e:8x16', 128, 'v6e'),
    ('tpu7x:2x2x2', 8, 'v7x'),
  ],
)
def test_a_slice_has_as_many_chips_as_its_sides_say(text, count, chip):
  found = topology.parse(text)
  assert (found.chips, found.chip.name) == (count, chip)
  assert found.platform == 'tpu'


def test_cpus_and_what_is_here_are_topologies():
  assert topology.parse('cpu:12').chips == 12
  assert topology.parse('cpu:12').chip is None
  assert topology.parse('local').is_local


@pytest.mark.parametrize(
  ('text', 'words'),
  [
    ('', 'try v5e:4x4, v5p:4x4x4, cpu:8 or local'),
    ('v5e', 'try v5e:4x4'),
    ('v9:2x2', 'of the generations v4, v5e, v5p, v6e, v7x'),
    ('h100:8', 'expected a TPU generation'),
    ('cpu', 'expected a TPU generation'),
    ('cpu:0', 'expected 1 to 4096'),
    ('cpu:-4', 'expected a TPU generation'),
    ('v5e:0x4', 'expected a TPU generation'),
    ('v5e:16', 'expected 2 of v5e; try v5e:4x4'),
    ('v5p:4x4', 'expected 3 of v5p; try v5p:4x4x4'),
    ('v5e:3x3', 'no slice of v5e; expected at most 256 chips in one of 1x1'),
    ('v5e:32x32', 'at most 256 chips'),
    ('v5p:4x4x6', 'sides that are multiples of 4'),
    ('v4:16x16x32', 'at most 4096 chips'),
    ('v5e:4x4\n', 'expected a TPU generation'),
  ],
)
def test_other_hardware_is_refused(text, words):
  with pytest.raises(InputError, match='got ') as error:
    topology.parse(text)
  assert words in str(error.value)


def test_without_libtpu_the_message_says_how_to_install_it(monkeypatch):
  monkeypatch.setenv('TPU_LIBRARY_PATH', '/no/such/libtpu.so')
  with pytest.raises(InputError, match='no libtpu') as error:
    topology.check_installed(topology.parse('v5e:4x4'))
  assert "try pip install 'vidmodels[tpu-plan]', or" in str(error.value)
  assert '--topology=cpu:16' in str(error.value)
  topology.check_installed(topology.parse('cpu:4'))


def test_a_process_gets_the_number_of_cpus_that_was_asked_for(monkeypatch):
  flag = '--xla_force_host_platform_device_count'
  monkeypatch.setenv('XLA_FLAGS', f'{flag}=3')
  variables = topology.environment(topology.parse('cpu:24'))
  assert variables['XLA_FLAGS'].split()[-1] == f'{flag}=24'
  assert variables['JAX_PLATFORMS'] == 'cpu'


@pytest.mark.parametrize(
  ('kind', 'name'),
  [
    # As libtpu 0.0.42 and CUDA name them.
    ('TPU v4', 'v4'),
    ('TPU v5 lite', 'v5e'),
    ('TPU v5', 'v5p'),
    ('TPU v6 lite', 'v6e'),
    ('TPU7x', 'v7x'),
    ('NVIDIA H100 80GB HBM3', 'h100'),
    ('NVIDIA H200', 'h200'),
    ('NVIDIA A100-SXM4-40GB', 'a100-40g'),
    ('NVIDIA A100-SXM4-80GB', 'a100'),
  ],
)
def test_a_device_has_the_figures_of_its_chip(kind, name):
  assert chips.find(kind).name == name


@pytest.mark.parametrize('kind', ['cpu', 'TPU v2', 'NVIDIA GeForce RTX 3090'])
def test_a_device_without_published_figures_has_none(kind):
  assert chips.find(kind) is None


@pytest.mark.parametrize('chip', chips.CHIPS, ids=lambda chip: chip.name)
def test_figures_are_in_bytes_and_seconds(chip):
  """A slip of a thousand would show: 200 to 900 FLOPs a byte of memory."""
  assert 100 < chip.flops / chip.hbm_bytes_s < 1000
  assert 3 < chip.hbm_bytes_s / chip.link_bytes_s < 15
  assert chip.hbm_bytes >= 16 << 30
