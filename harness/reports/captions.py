"""What is written beside the figures of a page."""

from typing import Final

SIZE: Final = (
    "Bands and whiskers are 95% intervals (Wilson). Colour and marker tell the family, dashes the "
    "endpoint. Hollow markers: with a search channel. Dotted: chance. Long dashes: the bound of an "
    "endpoint's state, explained below. Point at a marker for its figures."
)
STATE: Final = (
    "State is what a sequence carries at the end of a sample of mean length: constant for a "
    "recurrent model, growing with the context for attention. Filled markers answer from the state "
    "alone; hollow ones may search. Endpoints whose state is not known are left out."
)
BOUND: Final = (
    "The bound: n values, each drawn evenly from V words, are recalled with expected accuracy p "
    "from a state of b bits only if n R(p) ≤ b, where R(p) = log2 V - h(p) - (1 - p) log2(V - 1) "
    "and h(p) is the entropy of a coin. This is Fano's inequality for each value, added up; R is "
    "the rate-distortion function of an even source (Cover and Thomas, Elements of Information "
    "Theory, 2.10 and 10.3). The keys and everything else that a state must hold are given for "
    "free, so it is an upper bound, and a real model stays below it. It is of the expected "
    "accuracy, which a finite sample can exceed by chance. It says nothing about answers with a "
    "search, which reads the context again. b are all bits of the state as it is stored (and 2 for "
    "what the test split tells). “bits shown” is the same formula turned round, at the lower end "
    "of the interval: the state carried at least so many bits of the context."
)
POOLS: Final = (
    "Added up over the endpoints and sizes named; accuracy depends on both. Repeated samples of "
    "one model count once."
)
COSTS: Final = (
    "Wrong, no answer and truncated samples are in the denominator n; errored ones, which have no "
    "completion, are not. Searches and tokens are means of a sample."
)
