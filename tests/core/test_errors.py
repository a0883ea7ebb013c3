"""The exception for what a user can mend."""

import pytest

from jaxlab.core.errors import InputError


def test_an_input_error_is_a_value_error_with_its_message_as_text():
    with pytest.raises(ValueError, match=r"^width 3 is odd$") as caught:
        raise InputError("width 3 is odd")
    assert str(caught.value) == "width 3 is odd"
