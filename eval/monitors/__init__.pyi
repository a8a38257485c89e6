from .class_relations import ClassRelations as ClassRelations
from .knn import OnlineKNN as OnlineKNN
from .periodic import Monitor as Monitor
from .periodic import Periodic as Periodic
from .probe import OnlineProbe as OnlineProbe
