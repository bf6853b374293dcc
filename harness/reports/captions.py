"""What is written beside the figures of a page."""

from typing import Final

SIZE: Final = (
    "One panel a task. Whiskers and bands are 95% intervals (Wilson). Colour and marker tell the "
    "family; a whole line is a chain of thought, a dotted one a direct answer, a dashed one a "
    "search. Hollow markers: with a search. Markers that would cover each other stand side by "
    "side, moved sideways alone. Fine dots: chance. Point at a marker for its figures."
)
LENGTHS: Final = (
    "The largest size at which, and at every smaller one that was asked, at least 85% of the "
    "accuracy at the smallest size is left; “at least” where nothing larger was asked. An endpoint "
    "that guesses at the smallest size keeps that at any other: compare the accuracy with chance."
)
STATE: Final = (
    "State is what a sequence carries at the end of a sample of mean length: constant for a "
    "recurrent model, growing with the context for attention. Filled markers answer from the state "
    "alone; hollow ones have a search. Markers that would cover each other stand side by side "
    "here too. Endpoints whose state is not known are left out."
)
FRONTIER: Final = (
    "How much each model recalls, for how many bytes of state. Filled marks answer without a "
    "search, hollow ones are the same weights with one. A mark is the mean over trainings that "
    "differ in the seed alone, a bar reaches from the worst to the best of them; of one training "
    "there is none. State that grows with the context is what it was at the end of a sample of "
    "mean length. Models of about the same state stand side by side, moved sideways alone. Point "
    "at a mark for its figures; a name leads to what is said of the model."
)
TRAININGS: Final = (
    "Of a model that was trained several times: the mean, and whiskers and bands are the range "
    "over its trainings."
)
MODELS: Final = (
    "Checkpoints of one recipe and shape that differ in the seed of their training alone are one "
    "model. Mean and range are over trainings, of which each counts alike; a checkpoint that does "
    "not say how it was trained is a model of its own."
)
BOUND: Final = (
    "Long dashes are the bound: n values, each drawn evenly from V words, are recalled with "
    "expected accuracy p from a state of b bits only if n R(p) ≤ b, where "
    "R(p) = log2 V - h(p) - (1 - p) log2(V - 1) and h(p) is the entropy of a coin. This is Fano's "
    "inequality for each value, added up; R is the rate-distortion function of an even source "
    "(Cover and Thomas, Elements of Information Theory, 2.10 and 10.3). The keys and everything "
    "else that a state must hold are given for free, so it is an upper bound, and a real model "
    "stays below it. It is of the expected accuracy, which a finite sample can exceed by chance. "
    "It says nothing about answers with a search, which reads the context again. b are all bits "
    "of the state as it is stored, or as many as a server was told to leave of it (and 2 for what "
    "the test split tells)."
)
NO_BOUND: Final = "No bound is drawn here: every state has room for all that is asked of it."
BITS: Final = (
    "“bits shown”: by Fano's inequality a model that recalls so many of n values, at the lower "
    "end of the interval, carries at least so many bits of the context in its state."
)
CHANCE: Final = (
    "“majority” is what always giving the commonest target of these samples would reach; "
    "“balanced”, where a task has few targets, the mean of what is right of each. “chance” is what "
    "the best simple guess reaches, which counts what stands in a context and finds nothing."
)
POOLS: Final = (
    "Added up over the endpoints and sizes named; accuracy depends on both. Repeated samples of "
    "one model count once. “lenient” stands beside the accuracy, never in its place: the target is "
    "at least a whole word of the reply's last line (natural style alone)."
)
WAITS: Final = (
    "Milliseconds: from sending to the first token (TTFT), and from token to token. The tokens of "
    "one message share the time since the message before, with the searches that are in it; a "
    "quantile is of all tokens of all samples, to within 5%."
)
REPEATS: Final = (
    "Each sample was asked so often, with a seed of its own. Accuracy is the mean of all "
    "completions, its interval that of so many samples; pass@k is the share of samples that were "
    "right at least once; agreement how often two completions of one sample give the same answer."
)
COSTS: Final = (
    "Wrong, no answer, truncated and filtered samples are in the denominator n; errored ones, "
    "which have no completion, are not. Searches and tokens are means of a sample; a cost is that "
    "of the whole cell."
)
POSITIONS: Final = (
    "Samples by the fifth of their context in which the answer stood, first to last. One that asks "
    "for several things is in the fifth of each, and right only as a whole; answers that stand at "
    "no one place are left out."
)
NO_POSITIONS: Final = "No task of these runs has an answer that stands at one place of its context."
