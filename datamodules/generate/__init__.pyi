from .ddpm import DDPM as DDPM
from .shard_files import Parts as Parts
from .unconditional import Sampled as Sampled
from .variant import Variant as Variant
from .variation import Variation as Variation
