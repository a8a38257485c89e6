import pytest
import torch
from sslab.eval.measures.calibration import expected_calibration_error, temperature
from torch import Tensor


@pytest.fixture
def calibrated() -> tuple[Tensor, Tensor]:
    """Labels drawn from the softmax of the logits."""
    draw = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 5, generator=draw)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=draw)[:, 0]


def test_confidence_and_accuracy_by_bins_by_hand():
    """Confidences 0.9, 0.9 (one is right) and 0.6 (right): (2/3) |0.9 - 0.5| + (1/3) |0.6 - 1|."""
    logits = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]]).log()
    error = expected_calibration_error(logits, torch.tensor([0, 1, 1]))
    assert error.item() == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)


def test_what_is_calibrated_needs_no_temperature(calibrated):
    assert expected_calibration_error(*calibrated).item() < 0.01
    assert temperature(*calibrated) == pytest.approx(1, abs=0.03)


def test_temperature_mends_too_much_confidence(calibrated):
    logits, label = calibrated
    assert expected_calibration_error(3 * logits, label).item() > 0.1
    found = temperature(3 * logits, label)
    assert found == pytest.approx(3, abs=0.1)
    assert expected_calibration_error(3 * logits / found, label).item() < 0.01
