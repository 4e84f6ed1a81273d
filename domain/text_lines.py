"""Texts on one line: whitespace runs become single spaces.

Owns collapsing a text of which only the beginning will be shown.

Source: chat-policies.md §2.9, §3.5 and §6.4.
"""


def one_line(text: str, shown_chars: int) -> str:
    """Collapse the whitespace of a text's beginning.

    Args:
        text: The text.
        shown_chars: How many characters will be shown at most; what comes after them may stay as it
            is, so that a long text is not taken apart to its end.

    Returns:
        A text that begins with the first `shown_chars` characters of the collapsed text and is
        longer than that exactly if the collapsed text is.
    """
    # Each word but the first brings a space, so these words alone fill the shown part.
    return " ".join(text.split(maxsplit=min(shown_chars, len(text)) + 1)).rstrip()
