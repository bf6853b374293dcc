"""The words of the symbolic style: one vocabulary for every task, so one tokenizer for all.

A text is words with one space between. A piece that starts with `##` is written without that
space: `){` `##7` `##}(\\S+)` is the word `){7}(\\S+)`. So what a model writes between the search
markers is, letter for letter, a regular expression over the text that it has seen.
"""

from typing import Final

from harness.scoring.exact import ANSWER_MARKER, END_MARKER

NUM_WORDS: Final = 256
NUM_NUMERALS: Final = 257

# Words have three letters each, so none begins or ends another: a pattern finds the word it names.
WORDS: Final[tuple[str, ...]] = tuple(
    first + vowel + last for first in "bdfghklmnprstvz" for vowel in "aeiou" for last in "bkmt"
)[:NUM_WORDS]

KEYS: Final = WORDS[0::2]
VALUES: Final = WORDS[1::2]

NUMERALS: Final[tuple[str, ...]] = tuple(str(number) for number in range(NUM_NUMERALS))

PAD: Final = "<pad>"
BOS: Final = "<bos>"
EOS: Final = END_MARKER
UNKNOWN: Final = "<unk>"
ANSWER: Final = ANSWER_MARKER
SEARCH_START: Final = "<search>"
SEARCH_END: Final = "</search>"
# Asks the question: how to answer it, and with which kind of search.
DIRECT: Final = "<direct>"
COT: Final = "<cot>"
REGEX: Final = "<regex>"
DENSE: Final = "<dense>"

SPECIALS: Final[tuple[str, ...]] = (
    PAD,
    BOS,
    EOS,
    UNKNOWN,
    ANSWER,
    SEARCH_START,
    SEARCH_END,
    DIRECT,
    COT,
    REGEX,
    DENSE,
)

FAILED: Final = "FAILED"
# Ends a passage (a key with its value, an edge), and so what a dense search returns.
SEPARATOR: Final = ";"
# `-` joins the ends of an edge, `~` a vertex and its recorded father.
PUNCTUATION: Final[tuple[str, ...]] = (SEPARATOR, "-", "~", "=", ">", "yes", "no", FAILED)

# The first word of a prompt. Names of tasks that are still to come keep their place here, so that
# a checkpoint trained later reads the same tokenizer.
TASK_WORDS: Final[tuple[str, ...]] = (
    "assoc_recall",
    "index",
    "ngram_retrieval",
    "counting",
    "is_tree",
    "mqar",
    "copy",
    "phonebook",
    "permutation_composition",
    "parity",
    "position_retrieval",
    "needle",
)

# Pieces of regular expressions. The word before a group is found as it stands.
CAPTURE_WORD: Final = r"(\S+)"
PATTERN_PIECES: Final[tuple[str, ...]] = (
    CAPTURE_WORD,
    # index: ^(?:[^;]*; ){7}(\S+)
    "^(?:[^;]*;",
    "){",
    r"##}(\S+)",
    # counting: ^(?:[^;]* bab\b){8}[^;]* (;)
    "^(?:[^;]*",
    r"##\b){",
    "##}[^;]*",
    "(;)",
)

GLUED_NUMERALS: Final[tuple[str, ...]] = tuple(f"##{numeral}" for numeral in NUMERALS)


def vocabulary() -> tuple[str, ...]:
    """Every piece, in the order of its token id."""
    return (
        *SPECIALS,
        *PUNCTUATION,
        *TASK_WORDS,
        *PATTERN_PIECES,
        *WORDS,
        *NUMERALS,
        *GLUED_NUMERALS,
    )
