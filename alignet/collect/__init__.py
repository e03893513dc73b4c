"""Asking people: odd-one-out and rating experiments in a notebook, or on line with jsPsych."""
