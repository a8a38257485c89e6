from .evaluation import Evaluation as Evaluation
