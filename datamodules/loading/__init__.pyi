from .group_order import Grouped as Grouped
from .order import ClassBalanced as ClassBalanced
from .order import Shuffled as Shuffled
