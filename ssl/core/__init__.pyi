from .errors import UserError as UserError
from .step import Batch as Batch
from .step import Crop as Crop
from .step import Derived as Derived
from .step import Features as Features
from .step import Step as Step
from .step import View as View
