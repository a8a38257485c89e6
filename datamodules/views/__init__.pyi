from .augment import Augment as Augment
from .multi_source import Several as Several
from .paired import Paired as Paired
from .plain import Plain as Plain
