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
    """
    n_states, n_steps = gained.shape
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
