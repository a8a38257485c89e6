"""The members that Lightning asks of a loader that can be resumed."""


class Placeless:
    """Lightning warns that a loader without these two cannot resume.

    The data module keeps the place instead, since a loader that prefetches does not know it.
    """

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass
