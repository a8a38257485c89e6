from .evaluation import Evaluation as Evaluation
from .features.store import FeatureStore as FeatureStore
