"""Installs vidmodels; configs/ and experiments/ go along inside the package."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
  r"__version__ = '(.+)'", (HERE / 'vidmodels' / '__init__.py').read_text()
).group(1)

# Floors are what the tests have run with. A ceiling stands where the next
# breaking release is expected by that package's own habit: the next minor for
# a 0.x that breaks there (flax, optax, orbax, grain, clu), one past the newest
# that was run for JAX, the next major for the others. PyAV changes its
# interface with every major: 19 gave side data another iteration order.
CORE = [
  'absl-py>=2.1,<3',
  'av>=18,<20',
  'clu>=0.0.12,<0.1',
  'etils[epath]>=1.15,<2',
  'flax>=0.12.8,<0.13',
  'fsspec>=2026.9',
  'google-crc32c>=1.6,<2',
  'grain>=0.2.18,<0.3',
  'jax>=0.10.2,<0.13',
  'ml_collections>=1.1,<2',
  'numpy>=2.0,<3',
  # OpenCV 4 was not tried: 5 is what refuses JPEGs that are cut short.
  'opencv-python-headless>=5,<6',
  'optax>=0.2.8,<0.3',
  'orbax-checkpoint>=0.12.8,<0.13',
  'protobuf>=6.31.1,<8',
  'psutil>=6,<8',
  'rich>=13.7,<16',
  'safetensors>=0.6,<1',
]
TF = [
  'tensorflow>=2.21,<2.22',
  'tensorboard>=2.20,<3',
  'tensorflow-datasets>=4.9.10,<5',
]
# Object stores. Their versions are dates, and each wants fsspec's of its month.
GCS = ['gcsfs>=2026.9']
S3 = ['s3fs>=2026.9']
# Curves of figures in `python -m experiments.tables --format=html`.
PLOTS = ['matplotlib>=3.10,<4']
# The CPU wheel: tests only read and write records and events with it.
TEST = [
  *GCS,
  *S3,
  # Servers of both stores for this machine. moto[server] would bring what all
  # of AWS needs: 30 packages more, and twice the time to install.
  'flask>=3,<4',
  'flask-cors>=6,<7',
  'gcp-storage-emulator>=2026.7',
  *PLOTS,
  'moto[s3]>=5.2,<6',
  'mypy>=2.4,<3',
  'pytest>=8,<10',
  'pytest-xdist>=3.6,<4',
  # Each minor of ruff formats a little otherwise.
  'ruff>=0.17,<0.18',
  'tensorboard>=2.20,<3',
  'tensorflow-cpu>=2.21,<2.22; platform_machine == "x86_64"',
  'tensorflow-datasets>=4.9.10,<5',
]

# The papers' tables go along as vidmodels.experiments.
TABLES = setuptools.find_packages(include=['experiments', 'experiments.*'])

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
    *(f'vidmodels.{name}' for name in TABLES),
  ],
  package_dir={
    'vidmodels.recipes': 'configs',
    **{f'vidmodels.{name}': name.replace('.', '/') for name in TABLES},
  },
  package_data={
    'vidmodels': ['py.typed'],
    'vidmodels.data.datasets': ['class_lists/*.txt'],
    'vidmodels.experiments': ['launch/*'],
  },
  install_requires=CORE,
  extras_require={
    'tf': TF,
    'test': TEST,
    'gcs': GCS,
    's3': S3,
    'plots': PLOTS,
    # For `prepare --engine=beam`; each runner may want packages of its own.
    'beam': ['apache-beam>=2.77,<3'],
    # For `plan --topology=v5e:4x4`: the compiler for TPUs, and none of them.
    'tpu-plan': ['jax[tpu]>=0.10.2,<0.13'],
    # To write .pth; reading needs none.
    'torch': ['torch>=2.6,<3'],
    # Needs git; not on PyPI, and its tokenizers want the other two.
    'dmvr': [
      'dmvr @ git+https://github.com/google-deepmind/dmvr.git',
      'tensorflow-text>=2.21,<2.22',
      'sentencepiece',
    ],
  },
  entry_points={'console_scripts': ['vidmodels = vidmodels.__main__:main']},
)
