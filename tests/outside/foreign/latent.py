from sslab.ssl.core import Step
from torch import nn


class Centred(nn.Module):
    def forward(self, step: Step) -> Step:
        return step._replace(k={v: k - k.mean(0) for v, k in step.k.items()})
