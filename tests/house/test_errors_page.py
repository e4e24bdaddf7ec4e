"""docs/ERRORS.md says what the library says of each wrong input."""

import sys

import pytest
from wrong import page


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(sys.platform != "linux", reason="links, and names that other systems refuse")
def test_the_page_is_what_each_wrong_input_gets(repository):
    """Each is drawn and read: it is refused in four parts, or told."""
    written = (repository / "docs" / "ERRORS.md").read_text(encoding="utf-8")
    assert written == page(), "'make errors' writes it again"
