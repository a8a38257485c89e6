import pytest
import torch
from sslab.ssl.core.errors import UserError
from sslab.ssl.experiment.device import own_device


def test_a_gpu_that_is_not_there_is_refused_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert own_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="accelerator=gpu, but there is no GPU: set auto or cpu"):
        own_device("gpu")


def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device("auto") == own_device("gpu") == torch.device("cuda", 3)
    assert own_device("cpu") == torch.device("cpu")
