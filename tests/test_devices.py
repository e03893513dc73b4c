import threading

import pytest
import torch

from alignet import devices


def test_each_works_on_one_thread_in_order_and_leaves_the_threads_as_they_were():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        found = list(devices.each(lambda item: (item, torch.get_num_threads()), range(7)))
        assert found == [(item, 1) for item in range(7)]
        assert torch.get_num_threads() == 2
        later = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert later == [2]
        with devices.threads(1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_failure_in_each_is_the_callers():
    with pytest.raises(ZeroDivisionError):
        list(devices.each(lambda item: 1 / item, [1, 0, 2]))
