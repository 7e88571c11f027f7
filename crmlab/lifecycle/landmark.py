"""Is the process Markov? Placeholder."""


def markov_test(sample, phases, landmarks, draws, seed):
    """Later."""
    raise NotImplementedError
