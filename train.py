"""Compose → fit → evaluate; `python train.py --help` names what can be composed."""

from sslab.ssl.commands.train import main

if __name__ == "__main__":
    main()
