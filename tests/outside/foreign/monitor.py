from typing import Any

from sslab.eval.monitors import Periodic


class Norm(Periodic):
    def measure(self, trainer: Any, module: Any) -> dict[str, float]:
        return {"q_norm": module.step_record.q[0].norm(dim=1).mean().item()}
