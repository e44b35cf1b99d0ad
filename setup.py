"""Installs vidmodels; the recipes in configs/ go along as vidmodels.recipes."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
  r"__version__ = '(.+)'", (HERE / 'vidmodels' / '__init__.py').read_text()
).group(1)

# Floors are what the tests have run with; ceilings guard the 0.x releases.
# OpenCV 4 was not tried: 5 is what refuses JPEGs that are cut short.
CORE = [
  'absl-py>=2.1',
  'av>=18',
  'clu>=0.0.12,<0.1',
  'etils[epath]>=1.10',
  'flax>=0.12.8,<0.13',
  'google-crc32c>=1.6',
  'grain>=0.2.18,<0.3',
  'jax>=0.10.2,<0.11',
  'ml_collections>=1.1,<2',
  'numpy>=2.0',
  'opencv-python-headless>=5',
  'optax>=0.2.8,<0.3',
  'orbax-checkpoint>=0.12.8,<0.13',
  'protobuf>=6.31.1',
  'rich>=13.7',
  'safetensors>=0.6',
]
TF = [
  'tensorflow>=2.21,<2.22',
  'tensorboard>=2.20',
  'tensorflow-datasets>=4.9.10',
]
# The CPU wheel: tests only read and write records and events with it.
TEST = [
  'psutil>=6',
  'pytest>=8',
  'pytest-xdist>=3.6',
  'ruff>=0.14',
  'tensorboard>=2.20',
  'tensorflow-cpu>=2.21,<2.22; platform_machine == "x86_64"',
  'tensorflow-datasets>=4.9.10',
]

setuptools.setup(
  name='vidmodels',
  version=VERSION,
  description='Video transformers in JAX: five papers, one trainer',
  long_description=(HERE / 'README.md').read_text(),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=[
    *setuptools.find_packages(include=['vidmodels', 'vidmodels.*']),
    'vidmodels.recipes',
  ],
  package_dir={'vidmodels.recipes': 'configs'},
  package_data={'vidmodels.data': ['class_lists/*.txt']},
  install_requires=CORE,
  extras_require={
    'tf': TF,
    'test': TEST,
    # For `prepare --engine=beam`; each runner may want packages of its own.
    'beam': ['apache-beam>=2.77'],
    # To write .pth; reading needs none.
    'torch': ['torch>=2.6'],
    # Needs git; not on PyPI, and its tokenizers want the other two.
    'dmvr': [
      'dmvr @ git+https://github.com/google-deepmind/dmvr.git',
      'tensorflow-text>=2.21',
      'sentencepiece',
    ],
  },
  entry_points={'console_scripts': ['vidmodels = vidmodels.cli:main']},
)
