from .folder import Folder as Folder
from .generated import generated_images as generated_images
from .instances import Instances as Instances
from .pairs import Pairs as Pairs
from .parquet import Parquet as Parquet
from .torchvision_sets import Vision as Vision
