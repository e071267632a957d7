"""Brief, hints, answers, score, debrief."""
