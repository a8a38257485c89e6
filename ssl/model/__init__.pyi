from .backbones import Backbone as Backbone
from .concat import Concat as Concat
from .encoder import Encoder as Encoder
from .module import Module as Module
from .optim import Optim as Optim
from .teacher import EMA as EMA
from .teacher import Siamese as Siamese
from .teacher import StopGradient as StopGradient
