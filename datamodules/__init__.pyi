from .datamodule import DataModule as DataModule
