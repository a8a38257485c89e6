from .foreground_pca import Principal as Principal
from .frozen_encoder import Frozen as Frozen
from .open import seer as seer
