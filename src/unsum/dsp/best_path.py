"""The likeliest way through states that change seldom (Viterbi)."""

import numpy as np
from numpy.typing import NDArray


def best_path(gained: NDArray[np.float64], *, price: float) -> NDArray[np.intp]:
    """The state of every step that gains most in all, where each change costs a price.

    Parameters
    ----------
    gained : (states, steps)
    price : of going from one state to any other

    Returns
    -------
    states : (steps,)

    Raises
    ------
    ValueError
        If there is no state, or a gain is not a number: against that nothing can be compared.
    """
    n_states, n_steps = gained.shape
    if not n_states:
        raise ValueError(f"gains of shape {gained.shape} have no state to be in; give one row for each")
    if np.isnan(gained).any():
        state, step = np.argwhere(np.isnan(gained))[0]
        raise ValueError(f"the gain of state {state} in step {step} is not a number; give 0 where nothing is known")
    came = np.empty((n_steps, n_states), np.intp)
    stay = np.arange(n_states)
    score = np.zeros(n_states)
    for step in range(n_steps):
        best = int(np.argmax(score))
        came[step] = np.where(score >= score[best] - price, stay, best)
        score = np.maximum(score, score[best] - price) + gained[:, step]
    path = np.empty(n_steps, np.intp)
    state = int(np.argmax(score)) if n_steps else 0
    for step in range(n_steps - 1, -1, -1):
        path[step] = state
        state = int(came[step, state])
    return path
