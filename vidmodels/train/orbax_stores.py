"""Lets orbax write and read checkpoints in object stores.

  orbax_stores.prepare()  # before a CheckpointManager of gs:// or s3://

Orbax 0.12 gives TensorStore, which reads and writes the arrays, a description
of gs:// paths and of local ones; for s3:// it makes a local path and refuses
it. TensorStore itself reads and writes S3, so the one place of orbax that
describes a path gets the third kind. Another place says how a checkpoint shows
that it is complete: of s3:// orbax would believe that it got its name at the
end, and take one for whole that is being written.

TensorStore has settings of its own: AWS_ENDPOINT_URL, AWS_REGION and the usual
credentials for S3; an emulator of GCS is that of STORAGE_EMULATOR_HOST. It asks
a store that cannot answer as long as `object_store` does.
"""

import functools
import os
import pathlib
import socket
from typing import Any

from orbax.checkpoint._src.path import (
  atomicity,
  atomicity_defaults,
  gcs_utils,
)
from orbax.checkpoint._src.serialization import tensorstore_utils

from vidmodels import object_store
from vidmodels.typing import AnyPath, InputError

# A step is complete when its folder holds this object, which is written last.
COMMIT_FILE = atomicity.CommitFileTemporaryPath
COMMIT_NAME = 'commit_success.txt'
_S3 = 's3://'
# What is wrapped, each a function of one path.
_NAMES = ('_use_gcs_driver', '_normalize_path')


def in_one_database(path: AnyPath) -> bool:
  """Whether the arrays of an item go into one database, as orbax prefers.

  It grows by writes that name the generation of what they replace. An emulator
  of GCS may not tell it with an object (gcp-storage-emulator 2026.7): there
  each array has objects of its own.
  """
  if not os.fspath(path).startswith('gs://') or not object_store.emulator():
    return True
  prepare()
  bucket = object_store.bucket_of(path)
  return object_store.request(path, lambda: _tells_generation(bucket))


@functools.cache
def _tells_generation(bucket: str) -> bool:
  """Whether GCS, or what stands in for it, gives an object its generation."""
  import tensorstore

  store = tensorstore.KvStore.open(
    gcs_utils.get_kvstore_for_gcs(f'gs://{bucket}')
  ).result()
  name = f'.trial-{socket.gethostname()}-{os.getpid()}'
  written = store.write(name, b'vidmodels').result()
  told = store.read(name).result().stamp
  store.write(name, None).result()  # deletes it
  return bool(told.generation == written.generation)


def is_complete(step: pathlib.Path) -> bool:
  """Whether the folder of a step is there in whole.

  On a disk it gets its name at the end; in a store its last object tells.
  """
  return not object_store.in_store(step) or (step / COMMIT_NAME).is_file()


@functools.cache
def prepare() -> None:
  """Teaches orbax s3://, once a process."""
  missing = [n for n in _NAMES if not hasattr(tensorstore_utils, n)]
  if (
    missing
    or not hasattr(gcs_utils, 'get_kvstore_for_gcs')
    or not hasattr(atomicity_defaults, 'get_default_temporary_path_class')
  ):
    raise InputError(
      f'got an orbax that describes paths in another way (no {missing}); '
      'expected orbax-checkpoint 0.12; try that, or a workdir on this machine'
    )
  if url := object_store.emulator():
    os.environ.setdefault('TENSORSTORE_GCS_HTTP_URL', url)
    os.environ.setdefault('GOOGLE_AUTH_TOKEN_FOR_TESTING', 'emulator')
    os.environ.setdefault('GOOGLE_CLOUD_PROJECT', 'emulator')
    # It answers one request at a time; others wait a second to connect again.
    os.environ.setdefault('TENSORSTORE_GCS_REQUEST_CONCURRENCY', '2')
  # A store that takes a request and never answers.
  os.environ.setdefault('TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS', '60')
  os.environ.setdefault('TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES', '1')
  is_remote = tensorstore_utils._use_gcs_driver
  normalize = tensorstore_utils._normalize_path
  describe = gcs_utils.get_kvstore_for_gcs
  defaults = atomicity_defaults
  completes = defaults.get_default_temporary_path_class
  defaults.get_default_temporary_path_class = lambda path, **options: (
    COMMIT_FILE
    if os.fspath(path).startswith(_S3)
    else completes(path, **options)
  )
  tensorstore_utils._use_gcs_driver = lambda path: (
    path.startswith(_S3) or is_remote(path)
  )
  tensorstore_utils._normalize_path = lambda path: (
    _S3 + os.path.normpath(path.removeprefix(_S3))
    if path.startswith(_S3)
    else normalize(path)
  )
  gcs_utils.get_kvstore_for_gcs = lambda path: (
    describe_s3(path)
    if path.startswith(_S3)
    else {
      **describe(path),
      # Orbax cuts a name at its first # or ?.
      'path': path.removeprefix('gs://').partition('/')[2],
      'gcs_request_retries': object_store.tensorstore_retries(),
    }
  )


def describe_s3(address: str) -> dict[str, Any]:
  """TensorStore's description of a place in S3.

  Variables of the environment win over TensorStore's own search, which prints
  the files that it does not find.
  """
  bucket, _, path = address.removeprefix(_S3).partition('/')
  spec: dict[str, Any] = {
    'driver': 's3',
    'bucket': bucket,
    'path': path,
    's3_request_retries': object_store.tensorstore_retries(),
  }
  env = os.environ
  endpoint = env.get('AWS_ENDPOINT_URL_S3') or env.get('AWS_ENDPOINT_URL')
  region = env.get('AWS_REGION') or env.get('AWS_DEFAULT_REGION')
  if endpoint:
    # TensorStore asks an endpoint for no region.
    spec |= {'endpoint': endpoint, 'aws_region': region or 'us-east-1'}
  elif region:
    spec['aws_region'] = region
  if env.get('AWS_ACCESS_KEY_ID'):
    spec['aws_credentials'] = {'type': 'environment'}
  return spec
