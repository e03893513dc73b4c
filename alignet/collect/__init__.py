"""Experiments with people: odd-one-out and rating tasks in a notebook, or online with jsPsych."""
