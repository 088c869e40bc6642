"""What PSA Report tells of a model's last runs: figures, text and a picture."""
