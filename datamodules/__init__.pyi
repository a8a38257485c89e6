from .datamodule import DataModule as DataModule
from .reading.images import Stack as Stack
