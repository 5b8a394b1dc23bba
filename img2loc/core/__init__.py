"""The vocabulary that everything else is written in; imports nothing of ours."""
