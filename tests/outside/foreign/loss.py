from sslab.ssl.core import Step
from sslab.ssl.losses import Output
from torch import nn


class Distance(nn.Module):
    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, step: Step) -> Output:
        distance = (step.q[0] - step.k[1]).norm(dim=1)
        return Output.mean(step.weight, distance**self.power, distance=distance)
